//go:build race

package relayapi

// largeUpload is less where the race detector makes it take a minute.
const largeUpload = 64 << 20
