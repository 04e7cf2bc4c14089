// Receives warnings about limits, see docs/budgets.md.
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { Webhook } from 'standardwebhooks'

const webhook = new Webhook(process.env.NOTIFY_SECRET)
const seen = new Set() // in production, keep this in a database

createServer(async (req, res) => {
  try {
    const { id, data } = webhook.verify(await text(req), req.headers)
    if (!seen.has(id)) console.log(`${data.threshold} % of ${data.limit} ${data.unit}: ${data.scope} ${data.subject ?? data.token_id ?? data.issuer}`)
    seen.add(id)
    res.writeHead(204).end()
  } catch {
    res.writeHead(400).end()
  }
}).listen(process.env.PORT ?? 9100, '127.0.0.1')
