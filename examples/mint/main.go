package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/relayapi/caddy-relayapi/eccrypto"
)

func main() {
	res, err := http.Get("http://localhost:8080/.well-known/jwks.json")
	check(err)
	jwks, err := io.ReadAll(res.Body)
	check(err)
	relay, err := eccrypto.ParsePublicKey(jwks)
	check(err)
	pem, err := os.ReadFile("my-backend.pem")
	check(err)
	key, err := eccrypto.ParsePrivateKey(pem)
	check(err)
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{
		"iss": "my-backend", "sub": "alice", "aud": relay.ID(), "jti": rand.Text(),
		"iat": now, "exp": now + 3600,
		"provider": "demo", "limits": map[string]any{"calls": 3},
	})
	check(err)
	token, err := eccrypto.Seal(claims, "my-backend", key, relay)
	check(err)
	fmt.Println(token)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
