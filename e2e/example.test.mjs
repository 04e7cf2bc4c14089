// examples/Caddyfile and the page that it serves, in Chromium.
import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { test } from 'node:test'
import { startBrowser } from './browser.mjs'
import { stream } from './provider.mjs'
import { startExample } from './relay.mjs'

const provider = new EventEmitter()

// answer leaves it to the test what is said, and when.
function answer(call, res) {
  const send = stream(res)
  provider.emit('asked', {
    messages: JSON.parse(call.body).messages.map(({ role, content }) => `${role}: ${content}`),
    say: (content) => send({ choices: [{ index: 0, delta: { content } }] }),
    end() {
      send('[DONE]')
      res.end()
    },
    left: once(res, 'close'),
  })
}

const patience = { timeout: 30_000 }

const browser = await startBrowser()
const relay = await startExample({ answer })

// open opens the page of an example. tokens are those that it gets, in order.
async function open(example) {
  const page = await browser.open(example.page)
  const tokens = []
  page.on('response', (res) => { if (res.url() === `${example.page}token`) tokens.push(note(res)) })
  async function note(res) {
    const minted = await res.json()
    example.hide(minted.token)
    return minted
  }
  async function leave() {
    await Promise.all(tokens)
    await page.close()
  }
  return { page, tokens, leave }
}

async function write(page, text) {
  await page.getByLabel('Your message').fill(text)
  await page.getByRole('button', { name: 'Send' }).click()
}

// ask writes a message and returns the provider's side of it.
async function ask(page, text) {
  const asked = once(provider, 'asked')
  await write(page, text)
  const [turn] = await asked
  return turn
}

const shows = (page, text) => page.getByText(text, { exact: true }).waitFor()
const warning = (page) => page.getByRole('alert').textContent()
const paragraphs = (page) => page.getByRole('log').locator('p').allTextContents()

test('as it stands the example chats, by its own provider and back-end', patience, async () => {
  const example = await startExample()
  const { page, leave } = await open(example)
  await write(page, 'Hello')
  await shows(page, 'Hello from the demo provider. It saw the real key, and nothing of your token.')
  await leave()
  await example.stopClean()
})

test('an answer comes across origins, and appears piece by piece', patience, async () => {
  const { page, leave } = await open(relay)
  const turn = await ask(page, 'Hello')
  let shown = ''
  for (const piece of ['One', ', two', ', three']) { // the next one is sent when this one is seen
    turn.say(piece)
    await shows(page, shown += piece)
  }
  turn.end()
  assert.match(relay.log(), /"method":"OPTIONS".*"uri":"\/api\/demo\/v1\/chat\/completions".*"status":204/, 'the browser has not asked whether it may')
  await leave()
})

test('a conversation goes on where it was, with one token', patience, async () => {
  const { page, tokens, leave } = await open(relay)
  const first = await ask(page, 'Hello')
  first.say('Hi')
  first.end()
  const second = await ask(page, 'Who are you?')
  assert.deepEqual(second.messages, ['user: Hello', 'assistant: Hi', 'user: Who are you?'])
  second.say('A provider')
  second.end()
  await shows(page, 'A provider')
  assert.equal(tokens.length, 1)
  await leave()
})

test('an expired token is renewed, and nobody notices', patience, async () => {
  const hasty = await startExample({ answer }, (caddyfile) => caddyfile.replace('max_ttl 5m', 'max_ttl 3s'))
  const { page, tokens, leave } = await open(hasty)
  const before = await ask(page, 'Hello')
  before.say('Hi')
  before.end()
  await shows(page, 'Hi')
  await hasty.expired(await tokens[0])
  const refused = page.waitForResponse((res) => res.url().startsWith(hasty.origin) && res.status() === 401)
  const after = await ask(page, 'Are you there?')
  assert.equal((await (await refused).json()).error.code, 'token_expired')
  after.say('Yes')
  after.end()
  await shows(page, 'Yes')
  assert.equal(tokens.length, 2)
  assert.deepEqual(await paragraphs(page), ['Hello', 'Hi', 'Are you there?', 'Yes'])
  await leave()
  await hasty.stopClean()
})

test('a token that is revoked in mid-conversation: the page shows what the relay says', patience, async () => {
  const { page, tokens, leave } = await open(relay)
  const turn = await ask(page, 'Hello')
  turn.say('Hi')
  turn.end()
  await shows(page, 'Hi')
  await relay.revoke(await tokens[0])
  const before = relay.calls.length
  await write(page, 'Are you there?')
  assert.equal(await warning(page), 'The relay token was revoked. Ask your back-end for a new one.')
  assert.equal(relay.calls.length, before, 'the refused call reached the provider')
  assert.deepEqual((await paragraphs(page)).slice(0, 3), ['Hello', 'Hi', 'Are you there?'])
  await leave()
})

test('a token that is revoked in mid-answer: the answer ends, and the page shows what the relay says', patience, async () => {
  const { page, tokens, leave } = await open(relay)
  const turn = await ask(page, 'Hello')
  turn.say('One')
  await shows(page, 'One')
  await relay.revoke(await tokens[0])
  await turn.left
  assert.equal(await warning(page), 'The relay token was revoked. Ask your back-end for a new one.')
  assert.deepEqual((await paragraphs(page)).slice(0, 2), ['Hello', 'One'])
  await leave()
})

test('no secret is where it must not be', () => relay.stopClean())
