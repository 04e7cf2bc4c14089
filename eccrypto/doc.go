// Package eccrypto makes, seals and opens relay tokens, and reads and writes
// the keys they need. Bytes go in and verified claims bytes come out: what the
// claims mean is not known here.
//
// # Key hierarchy
//
// Two kinds of key pair take part, and they have different owners:
//
//	relay key     P-256              the relay holds the private half and
//	                                 publishes the public half as a JWKS;
//	                                 tokens are encrypted to it
//	issuer key    P-256 or Ed25519   a back-end holds the private half and signs
//	                                 tokens; the relay has the public half on
//	                                 record under the issuer's name
//
// A key's identity is its RFC 7638 thumbprint. A relay may hold several relay
// keys: the first is current and is the one to encrypt to, the others still
// open what was encrypted to them, which is how keys are rotated.
//
// # Token
//
// A token is a nested JWT (RFC 7519, section 5.2) in a strict profile:
//
//	outer   JWE compact   {alg ECDH-ES, enc A256GCM or A128GCM, kid, cty JWT, epk}
//	                      kid is the thumbprint of the relay's key;
//	                      typ, apu and apv may be there too
//	inner   JWS compact   {alg, kid, typ relay+jwt}
//	                      kid is the issuer's name; alg is the one that the
//	                      issuer's key on record has, ES256 or EdDSA
//
// Any JOSE library can mint one. What a general library accepts is much more
// than this, in several spellings each, so [Opener] checks the profile by hand
// first and lets the library do only the cryptography. A token then has one
// spelling, and garbage is refused before it costs a curve operation.
package eccrypto
