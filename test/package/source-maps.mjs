// Usage: node source-maps.mjs <the installed package>
// Every compiled file has a map, and every map leads to a source that was shipped with it
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

const dist = join(process.argv[2], 'dist')
const compiled = readdirSync(dist, { recursive: true }).filter((file) => /\.(js|d\.ts)$/.test(file))
assert.notEqual(compiled.length, 0, 'there are compiled files')

for (const file of compiled) {
  const map = join(dist, `${file}.map`)
  for (const source of JSON.parse(readFileSync(map, 'utf8')).sources) {
    assert.ok(statSync(resolve(dirname(map), source)).isFile(), `${file} leads to ${source}`)
  }
}
