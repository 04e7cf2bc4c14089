import { readFile } from 'node:fs/promises'
import { CompactEncrypt, SignJWT, importJWK, importPKCS8 } from 'jose'

const { keys: [relay] } = await (await fetch('http://localhost:8080/.well-known/jwks.json')).json()
const key = await importPKCS8(await readFile('my-backend.pem', 'utf8'), 'ES256')
const jwt = await new SignJWT({ provider: 'demo', limits: { calls: 3 } })
  .setProtectedHeader({ alg: 'ES256', typ: 'relay+jwt', kid: 'my-backend' })
  .setIssuer('my-backend').setSubject('alice').setAudience(relay.kid)
  .setJti(crypto.randomUUID()).setIssuedAt().setExpirationTime('1h').sign(key)
const token = await new CompactEncrypt(new TextEncoder().encode(jwt))
  .setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM', cty: 'JWT', kid: relay.kid })
  .encrypt(await importJWK(relay))
console.log(token)
