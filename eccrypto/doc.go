// Package eccrypto seals and opens relay tokens, and reads and writes their keys.
//
// A back-end calls [Seal] with claims, its own private key and the relay's public
// key. The relay makes an [Opener] of its private keys and of the public keys of
// the back-ends that may mint ("issuers"). [Opener.Open] returns the verified
// claims or a [*Refusal]. The package treats claims as bytes; package grant
// interprets them.
//
// # Key hierarchy
//
// There are two kinds of key pair, with different owners:
//
//	relay key     P-256              The relay holds the private half and
//	                                 publishes the public half as a JWKS.
//	                                 Tokens are encrypted to it.
//	issuer key    P-256 or Ed25519   A back-end holds the private half and signs
//	                                 tokens. The relay has the public half on
//	                                 record under the issuer's name.
//
// The id of a key is its RFC 7638 thumbprint. A relay may hold several relay keys.
// New tokens are encrypted to the first; the others still open older tokens, so
// that keys can be rotated.
//
// # Token
//
// A token is a nested JWT (RFC 7519, section 5.2) in a strict profile:
//
//	outer   JWE compact   {alg ECDH-ES, enc A256GCM or A128GCM, kid, cty JWT, epk}
//	                      kid is the thumbprint of the relay's key;
//	                      typ, apu and apv are optional
//	inner   JWS compact   {alg, kid, typ relay+jwt}
//	                      kid is the issuer's name; alg is that of the issuer's
//	                      key on record, ES256 or EdDSA
//
// Any JOSE library can mint a token. A JOSE library also accepts much more than
// this profile, and several spellings of the same token. [Opener] therefore checks
// the profile by hand and uses the library only for the cryptography. A token then
// has one spelling, and garbage is refused before any curve operation.
package eccrypto
