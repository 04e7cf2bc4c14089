//go:build !race

package relayapi

// largeUpload is how much TestLargeBodiesTakeLittleMemory sends.
const largeUpload = 1 << 30

// raceDetector is whether the race detector is on, which makes some tests ten times as long.
const raceDetector = false
