// WebCrypto alone, for browsers, workers, Deno, Bun and Node. Never ship the key in a page.
const b64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '')
const utf8 = (text) => new TextEncoder().encode(text)
const json = (value) => b64(utf8(JSON.stringify(value)))
const p256 = (name) => ({ name, namedCurve: 'P-256' })

export async function mint(url, pem, { iss, ...claims }) {
  const { keys: [relay] } = await (await fetch(url + '/.well-known/jwks.json')).json()
  const pkcs8 = Uint8Array.from(atob(pem.replace(/-----.*?-----|\s/g, '')), (c) => c.charCodeAt(0))
  const key = await crypto.subtle.importKey('pkcs8', pkcs8, p256('ECDSA'), false, ['sign'])
  const iat = Math.floor(Date.now() / 1000)
  const signed = json({ alg: 'ES256', typ: 'relay+jwt', kid: iss }) + '.' +
    json({ iss, aud: relay.kid, jti: crypto.randomUUID(), iat, exp: iat + 3600, ...claims })
  const jwt = signed + '.' + b64(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, utf8(signed)))
  const ephemeral = await crypto.subtle.generateKey(p256('ECDH'), true, ['deriveBits'])
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', ephemeral.publicKey)
  const header = json({ alg: 'ECDH-ES', enc: 'A256GCM', cty: 'JWT', kid: relay.kid, epk: { kty, crv, x, y } })
  const z = await crypto.subtle.deriveBits({ name: 'ECDH', public: await crypto.subtle.importKey('jwk', relay, p256('ECDH'), false, []) }, ephemeral.privateKey, 256)
  const kdf = [0, 0, 0, 1, ...new Uint8Array(z), 0, 0, 0, 7, ...utf8('A256GCM'), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0] // RFC 7518, section 4.6.2
  const cek = await crypto.subtle.importKey('raw', await crypto.subtle.digest('SHA-256', Uint8Array.from(kdf)), 'AES-GCM', false, ['encrypt'])
  const iv = crypto.getRandomValues(new Uint8Array(12))
  const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData: utf8(header) }, cek, utf8(jwt))
  return [header, '', b64(iv), b64(sealed.slice(0, -16)), b64(sealed.slice(-16))].join('.')
}
