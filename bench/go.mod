module github.com/relayapi/caddy-relayapi/bench

go 1.26.4

require (
	github.com/coder/websocket v1.8.15
	golang.org/x/sync v0.24.0
	golang.org/x/sys v0.49.0
)
