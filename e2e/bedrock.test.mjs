// Amazon Bedrock, as AWS's SDK calls it with an API key: over HTTP/2.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BedrockRuntimeClient, ConverseCommand } from '@aws-sdk/client-bedrock-runtime'
import { json } from './provider.mjs'
import { startRelay } from './relay.mjs'

// The relay's certificate is its own, and the SDK's HTTP/2 client takes no CA.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'

const plain = 'anthropic.claude-x-v1:0'
const profile = 'arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc'

const relay = await startRelay('bedrock', {
  answer(call, res) {
    const model = decodeURIComponent(call.path.match(/^\/model\/([^/]+)\/converse$/)[1])
    const heard = JSON.parse(call.body).messages[0].content[0].text
    json(res, {
      output: { message: { role: 'assistant', content: [{ text: `${model} heard ${heard}` }] } },
      stopReason: 'end_turn', usage: { inputTokens: 1, outputTokens: 2, totalTokens: 3 }, metrics: { latencyMs: 1 },
    })
  },
})

async function converse(token, modelId) {
  process.env.AWS_BEARER_TOKEN_BEDROCK = token // where the SDK reads it when a client is made
  const client = new BedrockRuntimeClient({ region: 'us-east-1', endpoint: relay.secureURL })
  try {
    const { output } = await client.send(new ConverseCommand({ modelId, messages: [{ role: 'user', content: [{ text: 'Hello' }] }] }))
    return output.message.content[0].text
  } finally {
    client.destroy()
  }
}

for (const [what, model] of [['a model', plain], ['an inference profile, with a slash in its name', profile]]) {
  test(`converse with ${what}`, { timeout: 20_000 }, async () => {
    const { token } = await relay.mint()
    assert.equal(await converse(token, model), `${model} heard Hello`)
  })

  test(`converse with ${what} that the token names`, { timeout: 20_000 }, async () => {
    const { token } = await relay.mint({ allow: { models: [model] } })
    assert.equal(await converse(token, model), `${model} heard Hello`)
    await refused(converse(token, 'amazon.other-v1:0'), 403, /The relay token does not permit this model\./)
  })
}

test('the path arrives as the SDK wrote it', { timeout: 20_000 }, async () => {
  const { token } = await relay.mint()
  await converse(token, profile)
  assert.equal(relay.calls.at(-1).path, `/model/${encodeURIComponent(profile)}/converse`)
})

// refused checks that the SDK throws an error of a name, with the relay's words.
async function refused(call, status, message) {
  await assert.rejects(call, (err) => {
    assert.equal(err.$metadata?.httpStatusCode, status, `${err}`)
    assert.match(err.message, message)
    assert.match(err.name, /Exception$/)
    return true
  })
}

test('a used-up token, a revoked token and a wrong path are refused in words', { timeout: 20_000 }, async () => {
  const minted = await relay.mint({ limits: { calls: 1 } })
  await converse(minted.token, plain)
  await refused(converse(minted.token, plain), 403, /The calls of the relay token are used up\./)
  await relay.revoke(minted)
  await refused(converse(minted.token, plain), 401, /The relay token was revoked\./)
  const { token } = await relay.mint({ allow: { paths: ['POST /model/*/invoke'] } })
  await refused(converse(token, plain), 403, /The relay token does not permit this request\./)
})

test('no secret is where it must not be', () => relay.stopClean())
