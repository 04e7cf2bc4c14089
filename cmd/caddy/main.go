// Command caddy is Caddy with the relayapi module, for `go run` and for tests.
// To build a Caddy of your own with more modules, use xcaddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/relayapi/caddy-relayapi"
)

func main() {
	caddycmd.Main()
}
