// examples/login in Chromium: a page that signs its users in and calls the relay with what the login
// gives them. The page is a file, and has no server of its own.
import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { test } from 'node:test'
import { onCDN, startBrowser } from './browser.mjs'
import { stream } from './provider.mjs'
import { startLoginExample } from './relay.mjs'

const provider = new EventEmitter()

// answer leaves it to the test what is said, and when. «Quick» is answered at once.
function answer(call, res) {
  const messages = JSON.parse(call.body).messages.map(({ role, content }) => `${role}: ${content}`)
  const send = stream(res)
  const say = (content) => send({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'demo', choices: [{ index: 0, delta: { content } }] })
  function end() {
    send('[DONE]')
    res.end()
  }
  if (messages.at(-1) === 'user: Quick') {
    say(`Answer ${messages.length}`)
    return end()
  }
  provider.emit('asked', { messages, say, end, left: once(res, 'close') })
}

const patience = { timeout: 30_000 }

const browser = await startBrowser()
const relay = await startLoginExample({ answer })

// open opens the page and notes what it asks of whom, the tokens of the login, and how many calls
// the relay says remain after each.
async function open(example) {
  const page = await browser.open(example.page, example.login)
  const asked = []
  const tokens = []
  const remaining = []
  page.on('request', (request) => asked.push(`${request.method()} ${request.url().split('?')[0]}`))
  page.on('response', (res) => {
    if (res.url() === `${example.login}/token`) tokens.push(note(res))
    if (res.url().startsWith(`${example.origin}/api/`)) remaining.push(res.headers()['relayapi-remaining-calls'])
  })
  async function note(res) {
    const { id_token } = await res.json()
    example.hide(id_token)
    return id_token
  }
  async function leave() {
    await Promise.all(tokens)
    await page.close()
  }
  return { page, asked, tokens, remaining, leave }
}

// signIn signs a user in at the login, which shows a button for each.
async function signIn(page, name) {
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('button', { name }).click()
  await page.getByLabel('Your message').waitFor()
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

// use writes messages that are answered at once.
async function use(page, calls) {
  for (let n = 1; n <= calls; n++) {
    await write(page, 'Quick')
    await shows(page, `Answer ${2 * n - 1}`)
  }
}

const shows = (page, text) => page.getByText(text, { exact: true }).waitFor()
const warning = (page) => page.getByRole('alert').textContent()

test('as it stands the example signs in and chats, by its own login and provider', patience, async () => {
  const example = await startLoginExample()
  const { page, leave } = await open(example)
  await signIn(page, 'Alice')
  await write(page, 'Hello')
  await shows(page, 'Hello from the demo provider. It saw the real key, and nothing of your login.')
  await leave()
  await example.stopClean()
})

test('a user signs in, and an answer comes across origins, piece by piece', patience, async () => {
  const { page, asked, tokens, leave } = await open(relay)
  await signIn(page, 'Alice')
  await shows(page, '– Alice, plan free')
  assert.equal(page.url(), relay.page, 'the code of the login stays in the address')
  const turn = await ask(page, 'Hello')
  assert.deepEqual(turn.messages, ['user: Hello'])
  let shown = ''
  for (const piece of ['One', ', two', ', three']) { // the next one is sent when this one is seen
    turn.say(piece)
    await shows(page, shown += piece)
  }
  turn.end()

  // The page's origin has served the page, and the rest is said to the login and to the relay.
  assert.deepEqual(new Set(asked), new Set([
    `GET ${relay.login}/authorize`, `POST ${relay.login}/authorize`, `GET ${relay.page}`,
    `POST ${relay.login}/token`, `POST ${relay.origin}/api/demo/v1/chat/completions`,
  ]))
  assert.equal(tokens.length, 1)
  assert.deepEqual(await page.evaluate(() => [document.cookie, { ...localStorage }, { ...sessionStorage }]), ['', {}, {}], 'the page has stored something')
  await leave()
})

test('a user has the limit of his plan, also after he signs in again', patience, async () => {
  const first = await open(relay)
  await signIn(first.page, 'Alice')
  await use(first.page, 4) // and the one of the test before
  assert.deepEqual(first.remaining, ['3', '2', '1', '0'])
  await first.leave()

  const { page, leave } = await open(relay)
  await signIn(page, 'Alice')
  const before = relay.calls.length
  await write(page, 'Quick')
  assert.match(await warning(page), /^The calls of the relay token are used up\. \(all 5 calls of the subject are used/)
  assert.equal(relay.calls.length, before, 'the refused call reached the provider')
  await leave()
})

test('another user has a limit of his own, and the claim of his plan raises it', patience, async () => {
  const { page, remaining, leave } = await open(relay)
  await signIn(page, 'Bob')
  await shows(page, '– Bob, plan pro')
  await use(page, 7)
  assert.deepEqual(remaining, ['49', '48', '47', '46', '45', '44', '43'])
  await leave()
})

// README.md has these lines for a page with the library of another login.
test('the SDK takes the token of the login, by a function that it calls for each request', patience, async () => {
  const { page, tokens, leave } = await open(relay)
  await signIn(page, 'Bob')
  const said = await page.evaluate(async ({ sdk, baseURL, token }) => {
    const { default: OpenAI } = await import(sdk)
    let renewed = 0
    const openai = new OpenAI({ baseURL, apiKey: async () => { renewed++; return token }, dangerouslyAllowBrowser: true })
    const heard = []
    for (let call = 0; call < 2; call++) {
      const messages = [{ role: 'user', content: 'Quick' }]
      for await (const chunk of await openai.chat.completions.create({ model: 'demo', messages, stream: true })) heard.push(chunk.choices[0].delta.content)
    }
    return { heard, renewed }
  }, { sdk: await onCDN('openai', 'index.mjs'), baseURL: `${relay.origin}/api/demo/v1`, token: await tokens[0] })
  assert.deepEqual(said, { heard: ['Answer 1', 'Answer 1'], renewed: 2 })
  await leave()
})

// RFC 8693, for what should not hold the token of the login, such as a worker.
test('the page exchanges the token of the login for one of the relay, which counts on the same user', patience, async () => {
  const { page, tokens, remaining, leave } = await open(relay)
  await signIn(page, 'Bob')
  const got = await page.evaluate(async ({ sdk, origin, token }) => {
    const form = new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: token,
      subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
    })
    const res = await fetch(`${origin}/mint`, { method: 'POST', body: form })
    const { access_token, token_type, expires_in } = await res.json()
    const { default: OpenAI } = await import(sdk)
    const openai = new OpenAI({ baseURL: `${origin}/api/demo/v1`, apiKey: access_token, dangerouslyAllowBrowser: true })
    const stream = await openai.chat.completions.create({ model: 'demo', messages: [{ role: 'user', content: 'Quick' }], stream: true })
    const heard = []
    for await (const chunk of stream) heard.push(chunk.choices[0].delta.content)
    return { access_token, token_type, expires_in, heard }
  }, { sdk: await onCDN('openai', 'index.mjs'), origin: relay.origin, token: await tokens[0] })
  relay.hide(got.access_token)
  assert.equal(got.access_token.split('.').length, 5, 'what was given is not encrypted')
  assert.equal(got.token_type, 'Bearer')
  assert.ok(got.expires_in > 0 && got.expires_in <= 86_400, `it expires in ${got.expires_in} s`)
  assert.deepEqual(got.heard, ['Answer 1'])
  assert.deepEqual(remaining, ['40']) // of 50, after the 9 calls of the tests before
  await leave()
})

test('a user who is revoked in mid-answer: the answer ends, and the page shows why', patience, async () => {
  const { page, leave } = await open(relay)
  await signIn(page, 'Bob')
  const turn = await ask(page, 'Hello')
  turn.say('One')
  await shows(page, 'One')
  await relay.revokeSubject('users', 'bob')
  await turn.left
  assert.match(await warning(page), /^The relay token was revoked\./)
  await leave()
})

test('an expired token: the page asks the user to sign in again, and the chat goes on', patience, async () => {
  const hasty = await startLoginExample({ answer }, '3s')
  const { page, tokens, leave } = await open(hasty)
  await signIn(page, 'Bob')
  const [, claims] = (await tokens[0]).split('.')
  const { exp } = JSON.parse(Buffer.from(claims, 'base64url'))
  await page.waitForFunction((exp) => Date.now() >= exp * 1000, exp)
  await write(page, 'Quick')
  assert.match(await warning(page), /^The relay token has expired\./)
  await signIn(page, 'Bob')
  await use(page, 1)
  assert.equal(tokens.length, 2)
  await leave()
  await hasty.stopClean()
})

test('no secret is where it must not be', () => relay.stopClean())
