//go:build !race

package relayapi

// largeUpload is how much TestLargeBodiesTakeLittleMemory sends.
const largeUpload = 1 << 30
