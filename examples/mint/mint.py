# Needs jwcrypto: `pip install jwcrypto` or Debian's python3-jwcrypto.
import json
import time
import urllib.request
import uuid

from jwcrypto import jwe, jwk, jwt

with urllib.request.urlopen('http://localhost:8080/.well-known/jwks.json') as answer:
    relay = jwk.JWK(**json.load(answer)['keys'][0])
with open('my-backend.pem', 'rb') as file:
    key = jwk.JWK.from_pem(file.read())
kid, now = relay.export_public(as_dict=True)['kid'], int(time.time())
signed = jwt.JWT(header={'alg': 'ES256', 'typ': 'relay+jwt', 'kid': 'my-backend'}, claims={
    'iss': 'my-backend', 'sub': 'alice', 'aud': kid, 'jti': str(uuid.uuid4()), 'iat': now, 'exp': now + 3600,
    'provider': 'demo', 'limits': {'calls': 3},
})
signed.make_signed_token(key)
token = jwe.JWE(signed.serialize().encode(), protected=json.dumps(
    {'alg': 'ECDH-ES', 'enc': 'A256GCM', 'cty': 'JWT', 'kid': kid}))
token.add_recipient(relay)
print(token.serialize(compact=True))
