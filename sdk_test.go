package relayapi

import (
	_ "github.com/anthropics/anthropic-sdk-go"
	_ "github.com/coder/websocket"
	_ "github.com/openai/openai-go/v3"
	_ "google.golang.org/genai"
)
