// Imports between the folders of lib/ point only down, type imports included: a file may import from its own folder and from
// the folders of the lines above, not from another folder of its own line
const LAYERS = [
  ['base'],
  ['receive', 'send'],
  ['topics'],
  ['connection'],
  ['app', 'testing'],
  ['upgrade'],
  ['plugin']
]

const upward = LAYERS.flatMap((folders, layer) => folders.map((folder) => ({
  name: `${folder}-imports-only-down`,
  severity: 'error',
  from: { path: `^lib/${folder}/` },
  to: { path: '^(lib/|index[.]ts$)', pathNot: `^lib/(${[folder, ...LAYERS.slice(0, layer).flat()].join('|')})/` }
})))

export default {
  forbidden: [
    ...upward,
    { name: 'no-circle', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'every-folder-has-a-layer', // no rule above holds for a file that is elsewhere
      severity: 'error',
      from: { path: '^lib/', pathNot: `^lib/(${LAYERS.flat().join('|')})/` },
      to: {}
    },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } } // else an import might escape the rules
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true // imports of types too
  }
}
