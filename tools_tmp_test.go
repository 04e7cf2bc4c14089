package relayapi

import (
	_ "github.com/openai/openai-go/v3"
	_ "github.com/anthropics/anthropic-sdk-go"
	_ "google.golang.org/genai"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/c2sp/wycheproof"
	_ "github.com/coder/websocket"
	_ "github.com/caddyserver/caddy/v2/caddytest"
	_ "pgregory.net/rapid"
)
