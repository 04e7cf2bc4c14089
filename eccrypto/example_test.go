package eccrypto_test

import (
	"context"
	"fmt"

	"github.com/relayapi/caddy-relayapi/eccrypto"
)

// A back-end mints a token with its own private key and the relay's public
// key; the relay opens it.
func Example() {
	relay, err := eccrypto.GenerateKey()
	if err != nil {
		panic(err)
	}
	backend, err := eccrypto.GenerateKey()
	if err != nil {
		panic(err)
	}

	claims := fmt.Sprintf(`{"iss":"backend","aud":%q,"sub":"user-1"}`, relay.Public().ID())
	token, err := eccrypto.Seal([]byte(claims), "backend", backend, relay.Public())
	if err != nil {
		panic(err)
	}

	opener, err := eccrypto.NewOpener(
		[]*eccrypto.PrivateKey{relay},
		map[string]*eccrypto.PublicKey{"backend": backend.Public()},
	)
	if err != nil {
		panic(err)
	}
	opened, err := opener.Open(context.Background(), token)
	if err != nil {
		panic(err)
	}
	fmt.Println(opened.Issuer, opened.KeyID == relay.Public().ID(), string(opened.Claims) == claims)
	// Output: backend true true
}
