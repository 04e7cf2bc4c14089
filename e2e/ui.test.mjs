// The operator's page, in Chromium.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { startBrowser } from './browser.mjs'
import { json } from './provider.mjs'
import { binary, startRelay, until } from './relay.mjs'

const used = [] // usage of the next answers

const relay = await startRelay('openai', {
  answer(call, res) {
    if (JSON.parse(call.body).stream) {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.write('data: {"model":"gpt-4o-mini","choices":[{"delta":{"content":"once"}}]}\n\n') // and never ends
      return
    }
    const { model } = JSON.parse(call.body)
    json(res, { id: 'chatcmpl-1', object: 'chat.completion', model, choices: [], usage: used.shift() ?? { prompt_tokens: 1000, completion_tokens: 200 } })
  },
})

const adminAddress = (await readFile(join(relay.dir, 'Caddyfile'), 'utf8')).match(/admin (\S+)/)[1]

// startUI starts `caddy relayapi ui` and returns the link that it prints.
async function startUI() {
  const child = spawn(binary(), ['relayapi', 'ui', '--address', adminAddress, '--no-open'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const closed = once(child, 'close')
  after(async () => {
    child.kill()
    assert.deepEqual(await closed, [0, null], 'the command did not end by itself')
  })
  let printed = ''
  for await (const text of child.stdout.setEncoding('utf8')) {
    printed += text
    const [link] = printed.match(/http:\S+(?=\n)/) ?? []
    if (link) return link
  }
  assert.fail('the command printed no link')
}

// call makes a call with a token, and returns the status and the code of a refusal.
async function call(token, model = 'gpt-4o-mini') {
  const res = await fetch(`${relay.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hello' }] }),
  })
  const { error } = await res.json()
  return [res.status, error?.code]
}

const hostile = '<img src=x onerror=alert(1)>'
const first = await relay.mint({ sub: hostile, limits: { calls: 4 } })
assert.deepEqual(await call(first.token), [200, undefined])

const browser = await startBrowser()
const link = await startUI()
const page = await browser.open(link)
const complaints = []
page.on('console', (line) => { if (line.type() === 'error') complaints.push(line.text()) })
const row = (text) => page.locator('#records tbody tr', { hasText: text })
const dialog = page.locator('dialog[open]')

test('the link opens the page, once', { timeout: 30_000 }, async () => {
  await page.getByRole('heading', { name: 'Tokens', exact: true }).waitFor()
  assert.ok(page.url() === link.slice(0, link.lastIndexOf('/') + 1), 'the address still has the secret of the link')
  const again = await fetch(link)
  assert.equal(again.status, 401)
  assert.equal(again.headers.get('set-cookie'), null)
  assert.equal((await fetch(`${page.url()}api/tokens`)).status, 401, 'the API answers without a cookie')
  assert.equal(await page.evaluate(() => document.cookie), '', 'scripts can read the cookie')
})

test('the page shows what was used', { timeout: 30_000 }, async () => {
  await row(first.id).waitFor()
  assert.equal(await row(first.id).locator('[data-label=Subject]').innerText(), hostile)
  assert.equal(await row(first.id).locator('[data-label=Status]').innerText(), 'active')
  assert.match(await row(first.id).locator('[data-label=Limits]').innerText(), /1 of 4 calls/)
  assert.equal(await row(first.id).locator('meter').evaluate((meter) => meter.value), 0.25)

  // 1000 tokens at 0.15 and 200 at 0.60 dollars a million.
  const total = page.locator('#sums tfoot td')
  assert.deepEqual(await total.allInnerTexts(), ['1', '1,200', '$0.00027'])
  for (const [by, name] of [['model', 'gpt-4o-mini'], ['subject', hostile], ['issuer', 'relay'], ['provider', 'openai']]) {
    await page.getByLabel('Usage by').selectOption(by)
    await page.locator('#sums tbody th', { hasText: name }).waitFor()
    assert.deepEqual(await total.allInnerTexts(), ['1', '1,200', '$0.00027'], `the sums by ${by}`)
  }
  assert.equal(await page.locator('#plots path').count(), 3)
  await page.locator('#plots svg').first().focus()
  await page.keyboard.press('End')
  const today = new Date().toISOString().slice(0, 10)
  assert.equal(await page.locator('.readout').first().innerText(), `${today}: openai 1`)
})

test('a stream in flight is shown, and ended', { timeout: 30_000 }, async () => {
  const live = page.locator('#live tbody tr')
  await live.getByText('No calls').waitFor()
  const streaming = await relay.mint({ sub: hostile })
  const res = await fetch(`${relay.url}/v1/chat/completions`, {
    method: 'POST', headers: { authorization: `Bearer ${streaming.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'gpt-4o-mini', stream: true, messages: [{ role: 'user', content: 'hello' }] }),
  })
  const heard = res.text()
  const shown = live.filter({ hasText: streaming.id })
  await shown.waitFor() // the page updates itself
  assert.deepEqual(await shown.locator('td').allInnerTexts().then((texts) => texts.slice(0, 4)), [hostile, 'openai', 'gpt-4o-mini', 'answering'])
  await shown.getByRole('button', { name: 'End' }).click()
  await dialog.getByRole('button', { name: 'End' }).click()
  assert.match(await heard, /once[^]*event: error\ndata: .*"code":"call_ended"/)
  await live.getByText('No calls').waitFor()
  assert.deepEqual(await call(streaming.token), [200, undefined], 'the token was ended with its call')
})

let minted
test('a token is minted, used and found', { timeout: 30_000 }, async () => {
  await page.getByRole('button', { name: 'Mint a token' }).focus()
  await page.keyboard.press('Enter')
  await dialog.getByLabel('Provider').fill('nowhere')
  await dialog.getByLabel('Subject').fill('alice')
  await dialog.getByLabel('US dollars').fill('0.50')
  await dialog.getByLabel('Calls', { exact: true }).fill('2')
  await page.keyboard.press('Enter')
  await dialog.locator('.error', { hasText: 'openai' }).waitFor() // names the providers that there are
  await dialog.getByLabel('Provider').fill('openai')
  await page.keyboard.press('Enter')

  await dialog.getByRole('heading', { name: 'A new token' }).waitFor()
  minted = { token: await dialog.getByLabel('Token').inputValue() }
  relay.hide(minted.token)
  await dialog.getByRole('button', { name: 'Done' }).click()
  await page.waitForFunction(() => document.querySelector('#minted-token').value === '') // the page does not keep the token

  assert.deepEqual(await call(minted.token), [200, undefined])
  await page.getByRole('search').getByLabel('Subject').fill('alice')
  await page.getByRole('button', { name: 'Search' }).click()
  await row('alice').waitFor()
  await page.waitForFunction(() => document.querySelectorAll('#records tbody tr').length === 1)
})

test('a limit of each subject is set, and shows who is closest to it', { timeout: 30_000 }, async () => {
  await page.getByRole('button', { name: 'Set a limit' }).click()
  await dialog.getByLabel('Amount').fill('10')
  await dialog.getByRole('button', { name: 'Set' }).click()
  const budget = page.locator('#limits tbody tr', { hasText: 'each subject' })
  await budget.getByText('10 calls per day').waitFor()
  assert.deepEqual(await call(minted.token), [200, undefined]) // a limit counts from when it is set
  await budget.locator('div', { hasText: /^relay\/alice\s+1 of 10 calls$/ }).last().waitFor({ timeout: 20_000 }) // the page updates itself
  await budget.getByRole('button', { name: 'Remove' }).click()
  await page.getByText('No limit is set').waitFor()
})

test('a token is changed, and takes effect', { timeout: 30_000 }, async () => {
  await row('alice').getByRole('button', { name: 'Change' }).click()
  await dialog.getByLabel('Label').fill(hostile)
  await dialog.getByLabel('Refuse it').check()
  await dialog.getByRole('button', { name: 'Change' }).click()
  await row('alice').getByText('disabled').waitFor()
  assert.match(await row('alice').innerText(), /<img src=x/)
  assert.deepEqual(await call(minted.token), [401, 'token_disabled'])
})

test('a token is revoked, and its client refused', { timeout: 30_000 }, async () => {
  await row('alice').getByRole('button', { name: 'Revoke' }).click()
  await dialog.getByRole('button', { name: 'Revoke' }).click()
  await row('alice').getByText('revoked').waitFor()
  assert.deepEqual(await call(minted.token), [401, 'token_revoked'])
  assert.equal(await row('alice').getByRole('button', { name: 'Revoke' }).count(), 0)
})

// There are more subjects than the plots have colors, and amounts that no rounding hides.
test('the sums equal those of `usage`, to the unit', { timeout: 60_000 }, async () => {
  const usage = (by) => JSON.parse(execFileSync(binary(), ['relayapi', 'usage', '--address', adminAddress, '--by', by, '--json'])).usage
  const calls = () => usage('provider').reduce((sum, row) => sum + row.calls, 0)
  const before = calls()
  const models = ['gpt-4o-mini', 'gpt-4o', 'gpt-4.1', 'gpt-4.1-nano', 'a-model-without-a-price']
  for (let i = 0; i < 22; i++) {
    const { token } = await relay.mint({ sub: i % 11 ? `user-${i % 11}` : undefined })
    used.push({ prompt_tokens: 1_000_003 * (i + 1), completion_tokens: 77_773 * i + 1 })
    assert.deepEqual(await call(token, models[i % models.length]), [200, undefined])
  }
  await until('all calls are settled', async () => calls() === before + 22)

  for (const by of ['provider', 'model', 'issuer', 'subject']) {
    const sums = new Map(usage(by).map((row) => [row[by] || '(none)', amounts(row)]))
    const total = [...sums.values()].reduce((sum, row) => sum.map((n, i) => n + row[i]), [0n, 0n, 0n])
    await page.getByLabel('Usage by').selectOption(by)
    await page.locator('#usage:not([aria-busy])').waitFor()

    const shown = await page.locator('#sums tr:has(td)').evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.innerText)))
    let named = 0
    for (const [name, ...cells] of shown) {
      const want = name === 'Total' ? total : sums.get(name)
      if (want) assert.deepEqual(cells, written(want), `${name}, by ${by}`)
      if (want) named++
    }
    assert.equal(named, Math.min(sums.size, sums.size > 8 ? 7 : 8) + 1, `of ${shown.map(([name]) => name)}, by ${by}`)
    const parts = shown.filter(([name]) => name !== 'Total').map((row) => BigInt(row[2].replaceAll(',', '')))
    assert.equal(parts.reduce((sum, n) => sum + n, 0n), total[1], `the parts do not make up the total, by ${by}`)
  }
})

// amounts are calls, tokens and nano-dollars.
function amounts({ calls, input = 0, output = 0, cost_usd: cost }) {
  const [dollars, decimals = ''] = cost.split('.')
  return [BigInt(calls), BigInt(input + output), BigInt(dollars + decimals.padEnd(9, '0'))]
}

const written = ([calls, tokens, nano]) => [
  calls.toLocaleString('en'), tokens.toLocaleString('en'),
  `$${(nano / 10n ** 9n).toLocaleString('en')}.${String(nano % 10n ** 9n).padStart(9, '0').replace(/0{1,7}$/, '')}`,
]

test('the page fits a phone', { timeout: 30_000 }, async () => {
  await page.setViewportSize({ width: 360, height: 740 })
  const [content, view] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth])
  assert.ok(content <= view, `the page is ${content} pixels wide on a phone of ${view}`)
})

test('the policy of the page stopped nothing', () => assert.deepEqual(complaints.filter((text) => !/status of 4\d\d/.test(text)), []))

test('no secret is where it must not be', async () => {
  await page.close()
  await relay.stopClean()
})
