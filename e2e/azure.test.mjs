// Azure OpenAI, as OpenAI's SDK calls it on a server and in a page, which can put
// the key of a WebSocket into the query only.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AzureOpenAI } from 'openai'
import { onCDN, startBrowser } from './browser.mjs'
import { json } from './provider.mjs'
import { startRelay } from './relay.mjs'

const relay = await startRelay('azure-openai', {
  answer(call, res) {
    assert.equal(call.path, '/openai/deployments/gpt-x/chat/completions')
    assert.equal(call.query.get('api-version'), apiVersion)
    const { messages: [{ content }] } = JSON.parse(call.body)
    const message = { role: 'assistant', content: `heard ${content}` }
    json(res, { id: 'c', object: 'chat.completion', created: 1, model: 'gpt-x', choices: [{ index: 0, finish_reason: 'stop', message }] })
  },
  select: () => 'realtime',
  converse(socket, call) {
    assert.equal(call.path, '/openai/realtime')
    assert.equal(call.query.get('deployment'), 'gpt-x')
    socket.send(JSON.stringify({ type: 'session.created' }))
    socket.on('message', () => socket.send(JSON.stringify({ type: 'response.done' })))
  },
})
const browser = await startBrowser()

const apiVersion = '2024-10-21'
const messages = [{ role: 'user', content: 'Hello' }]

test('a server: a chat completion', async () => {
  const { token } = await relay.mint({ allow: { models: ['gpt-x'] } })
  const azure = new AzureOpenAI({ endpoint: relay.url, apiKey: token, apiVersion })
  const { choices: [{ message }] } = await azure.chat.completions.create({ model: 'gpt-x', messages })
  assert.equal(message.content, 'heard Hello')
})

// inPage runs a function in a page, with the SDK there and its options.
async function inPage(endpoint, claims, run) {
  const { token } = await relay.mint(claims)
  const page = await browser.open(`${relay.origin}/health`) // any page
  const result = await page.evaluate(run, {
    sdk: await onCDN('openai', 'index.mjs'),
    realtime: await onCDN('openai', 'realtime/websocket.mjs'),
    options: { endpoint, apiKey: token, apiVersion, dangerouslyAllowBrowser: true },
    messages,
  })
  await page.close()
  return result
}

test('a page: a chat completion', { timeout: 20_000 }, async () => {
  const content = await inPage(relay.url, {}, async ({ sdk, options, messages }) => {
    const { AzureOpenAI } = await import(sdk)
    const { choices: [{ message }] } = await new AzureOpenAI(options).chat.completions.create({ model: 'gpt-x', messages })
    return message.content
  })
  assert.equal(content, 'heard Hello')
})

for (const [what, claims] of [['any token', {}], ['a token that names the deployment', { allow: { models: ['gpt-x'] } }]]) {
  test(`a page: Realtime, with ${what} in the query`, { timeout: 20_000 }, async () => {
    const heard = await inPage(relay.secureURL, claims, async ({ sdk, realtime, options }) => {
      const { AzureOpenAI } = await import(sdk)
      const { OpenAIRealtimeWebSocket } = await import(realtime)
      const session = await OpenAIRealtimeWebSocket.azure(new AzureOpenAI(options), { deploymentName: 'gpt-x', dangerouslyAllowBrowser: true })
      const heard = await new Promise((resolve) => {
        session.on('error', ({ message }) => resolve(message))
        session.socket.addEventListener('close', ({ code, reason }) => resolve(`closed: ${code} ${reason}`))
        session.on('session.created', () => session.send({ type: 'response.create' }))
        session.on('response.done', ({ type }) => resolve(type))
      })
      session.close()
      return heard
    })
    assert.equal(heard, 'response.done')
    assert.equal(relay.calls.at(-1).query.has('api-key'), false, 'the provider received a key in the query')
  })
}

test('no secret is where it must not be', () => relay.stopClean())
