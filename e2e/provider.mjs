// A provider on loopback that trusts nobody: of every request it checks that the
// real key came, once, in the one right place, and nothing of a token.
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'

// Where the presets' providers read their keys.
export const places = {
  'azure-openai': ['api-key', ''],
  bedrock: ['authorization', 'Bearer '],
  openai: ['authorization', 'Bearer '],
  anthropic: ['x-api-key', ''],
  gemini: ['x-goog-api-key', ''],
}

const piece = 12 // from that many characters on a part of a secret counts as one

// Secrets knows every piece of some secrets.
export class Secrets {
  #pieces = new Set()

  add(secret) {
    for (let i = 0; i + piece <= secret.length; i++) this.#pieces.add(secret.slice(i, i + piece))
  }

  // in tells whether a piece of a secret stands in text.
  in(text) {
    for (const [run] of text.matchAll(/[\w.-]{12,}/g)) {
      for (let i = 0; i + piece <= run.length; i++) if (this.#pieces.has(run.slice(i, i + piece))) return true
    }
    return false
  }
}

// startProvider starts a provider as play has it: answer(call, res) answers a
// request, of which call has method, path, query, headers and body;
// converse(socket, call) speaks on a WebSocket, for which select(call) names the
// subprotocol, if any. calls are all requests so far.
export async function startProvider(preset, key, secrets, { answer, converse, select }) {
  const calls = []
  const violations = []
  const [place, prefix] = places[preset]

  // look notes a request. One with a wrong or second credential is a violation,
  // which it throws.
  function look(req, body) {
    const { pathname: path, searchParams: query } = new URL(req.url, 'http://provider')
    const head = [req.url, ...req.rawHeaders].join('\n').replace(key, '')
    const call = { method: req.method, path, query, headers: req.headers, body, received: head + body.toString('latin1') }
    calls.push(call)
    if (req.headers[place] !== prefix + key) throw violation(call, `the key is not in ${place}`)
    if (secrets.in(call.received)) throw violation(call, 'a piece of a token, or of the key once more')
    return call
  }

  function violation({ method, path }, what) {
    violations.push(`${method} ${path}: ${what}`)
    return new Error(what)
  }

  const server = createServer(async (req, res) => {
    let call
    try {
      call = look(req, Buffer.concat(await req.toArray()))
      await answer(call, res)
    } catch (err) {
      if (call) violation(call, `not answered: ${err}`)
      if (res.headersSent) return res.destroy()
      json(res, { error: { message: String(err) } }, 400)
    }
  })
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: (_, { call }) => select?.(call) ?? false })
  server.on('upgrade', (req, connection, head) => {
    try {
      req.call = look(req, Buffer.alloc(0))
    } catch {
      return connection.end('HTTP/1.1 400 Bad Request\r\n\r\n')
    }
    sockets.handleUpgrade(req, connection, head, (socket) => {
      socket.on('message', (data) => { req.call.received += `\n${data.toString('latin1')}` })
      converse(socket, req.call)
    })
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))

  return {
    url: `http://127.0.0.1:${server.address().port}`,
    calls,

    // stop returns all that was wrong. It looks once more for secrets, now that
    // all of them are known.
    async stop() {
      sockets.clients.forEach((socket) => socket.terminate())
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve)) // once more does no harm
      for (const call of calls) if (secrets.in(call.received)) violation(call, 'a piece of a secret')
      return violations
    },
  }
}

// json answers with a JSON document.
export function json(res, body, status = 200) {
  res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

// stream starts a stream of server-sent events and returns what sends one.
// Events with a type get an `event:` line where named is true.
export function stream(res, named = false) {
  res.writeHead(200, { 'content-type': 'text/event-stream' })
  return (data) => res.write(`${named && data.type ? `event: ${data.type}\n` : ''}data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`)
}
