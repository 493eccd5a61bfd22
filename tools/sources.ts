import { readdirSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import ts from 'typescript'

export const ROOT = join(import.meta.dirname, '..')

/** The TypeScript files below a folder of the repository, as paths from its root. */
export function filesIn (folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .sort()
}

/** A function that has a body: every function, method, constructor, getter, setter and arrow, however short. */
export type FunctionWithBody = ts.FunctionLikeDeclaration & { readonly body: ts.ConciseBody }

export function hasBody (node: ts.Node): node is FunctionWithBody {
  return ts.isFunctionLike(node) && 'body' in node && node.body !== undefined
}

/** A readable name, such as `Sender.send`, `get Sender.size` or `arrow in Sender.send`. */
export function nameOf (node: FunctionWithBody): string {
  const { parent } = node
  if (ts.isConstructorDeclaration(node)) return `new ${nameOfClass(parent)}`
  if (ts.isGetAccessor(node)) return `get ${memberName(node)}`
  if (ts.isSetAccessor(node)) return `set ${memberName(node)}`
  if (ts.isMethodDeclaration(node)) return memberName(node)
  if (node.name !== undefined) return node.name.getText()
  if (ts.isVariableDeclaration(parent) || ts.isPropertyAssignment(parent)) return parent.name.getText()
  if (ts.isPropertyDeclaration(parent)) return memberName(parent)
  const outer = ts.findAncestor(parent, hasBody)
  return `${ts.isArrowFunction(node) ? 'arrow' : 'function'} in ${outer === undefined ? 'module' : nameOf(outer)}`
}

function memberName (node: ts.ClassElement | ts.ObjectLiteralElementLike): string {
  const name = node.name?.getText() ?? ''
  return ts.isClassLike(node.parent) ? `${nameOfClass(node.parent)}.${name}` : name
}

export function nameOfClass (node: ts.Node): string {
  return ts.isClassLike(node) ? node.name?.text ?? 'class' : 'object'
}
