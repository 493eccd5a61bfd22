// Among the tests of another Node.js version: it is indeed the one that runs them
import t from 'tap'

t.equal(process.versions.node.split('.')[0], process.env.NODE_MAJOR, process.execPath)
