// Chromium, shut in: it reaches this machine and nothing else.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after } from 'node:test'
import { chromium } from 'playwright-core'

// Where pages take SDKs from. In a test that is node_modules.
const cdn = 'https://cdn.jsdelivr.net/npm/'
const modules = new URL('node_modules/', import.meta.url)

const versionOf = async (name) => JSON.parse(await readFile(new URL(`${name}/package.json`, modules))).version

// onCDN is the address of a file of an SDK, as pages name it.
export const onCDN = async (name, path) => `${cdn}${name}@${await versionOf(name)}/${path}`

// startBrowser starts a Chromium with an empty profile, until the tests are over.
// They fail if a page had an error or wanted something from elsewhere.
export async function startBrowser() {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1',
      '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    ],
  })
  const context = await browser.newContext({ ignoreHTTPSErrors: true }) // the relay's certificate is its own
  context.setDefaultTimeout(10_000)
  const wrong = []
  after(async () => {
    await browser.close()
    assert.deepEqual(wrong, [])
  })

  return {
    // open opens a page, which may go to other hosts on this machine too.
    async open(url, ...others) {
      const hosts = [url, ...others].map((allowed) => new URL(allowed).hostname)
      const page = await context.newPage()
      page.on('pageerror', (err) => wrong.push(`${url}: ${err}`))
      page.on('request', (request) => {
        const { href, hostname } = new URL(request.url())
        if (!href.startsWith(cdn) && !hosts.includes(hostname)) wrong.push(`${url} asks for ${href}`)
      })
      await serveModules(await context.newCDPSession(page))
      await page.goto(url)
      return page
    },
  }
}

// serveModules answers what a page asks of the CDN. Not by Playwright's route():
// while that is in use Playwright itself answers every CORS preflight, which is
// the relay's to do.
async function serveModules(devtools) {
  devtools.on('Fetch.requestPaused', async ({ requestId, request }) => {
    const [, name, version, path] = request.url.slice(cdn.length).match(/^(.[^@]*)@([^/]+)\/(.+)$/)
    assert.equal(version, await versionOf(name), `the page wants another version of ${name} than the one that is tested`)
    await devtools.send('Fetch.fulfillRequest', {
      requestId,
      responseCode: 200,
      responseHeaders: [{ name: 'content-type', value: 'text/javascript' }, { name: 'access-control-allow-origin', value: '*' }],
      body: await readFile(new URL(`${name}/${path}`, modules), 'base64'),
    })
  })
  await devtools.send('Fetch.enable', { patterns: [{ urlPattern: `${cdn}*` }] })
}
