// A link with a token in it, in Chromium.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startBrowser } from './browser.mjs'
import { startRelay } from './relay.mjs'

const page = '<title>a page</title><script>document.title += " of " + origin</script><img src="/image">'

const relay = await startRelay('openai', {
  answer(call, res) {
    res.writeHead(200, { 'content-type': 'text/html' }).end(page)
  },
})
const browser = await startBrowser()

test('a page that a provider answers with acts for no origin', { timeout: 20_000 }, async () => {
  const { token } = await relay.mint()
  const opened = await browser.open(`${relay.url}/v1/models?key=${token}`)
  assert.equal(await opened.title(), 'a page')
  assert.equal(relay.calls.length, 1)
  await opened.close()
})

test('no secret is where it must not be', () => relay.stopClean())
