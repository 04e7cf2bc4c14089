# Needs json-jwt: `gem install json-jwt` or Debian's ruby-json-jwt. It signs; it has no
# ECDH-ES, so OpenSSL encrypts.
require 'json/jwt'
require 'net/http'

b64 = ->(bytes) { Base64.urlsafe_encode64(bytes, padding: false) }
relay = JSON.parse(Net::HTTP.get(URI('http://localhost:8080/.well-known/jwks.json')))['keys'].first
jwt = JSON::JWT.new(iss: 'my-backend', sub: 'alice', aud: relay['kid'], jti: SecureRandom.uuid, iat: Time.now.to_i,
                    exp: Time.now.to_i + 3600, provider: 'demo', limits: { calls: 3 })
jwt.header = { typ: 'relay+jwt', kid: 'my-backend' }
signed = jwt.sign(OpenSSL::PKey.read(File.read('my-backend.pem')), :ES256).to_s

ephemeral = OpenSSL::PKey::EC.generate('prime256v1')
epk = JSON::JWK.new(ephemeral).to_h.slice('kty', 'crv', 'x', 'y')
header = b64[{ alg: 'ECDH-ES', enc: 'A256GCM', cty: 'JWT', kid: relay['kid'], epk: epk }.to_json]
z = ephemeral.dh_compute_key(JSON::JWK.new(relay).to_key.public_key)
# Concat KDF of RFC 7518, section 4.6.2: A256GCM, no apu and apv, 256 bits.
cipher = OpenSSL::Cipher.new('aes-256-gcm').encrypt
cipher.key = OpenSSL::Digest::SHA256.digest([1].pack('N') + z + [7].pack('N') + 'A256GCM' + [0, 0, 256].pack('N3'))
iv = cipher.random_iv
cipher.auth_data = header
text = cipher.update(signed) + cipher.final
puts [header, '', b64[iv], b64[text], b64[cipher.auth_tag]].join('.')
