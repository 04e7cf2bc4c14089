//go:build race

package relayapi

// largeUpload is less where the race detector makes it take a minute.
const largeUpload = 64 << 20

// raceDetector is whether the race detector is on, which makes some tests ten times as long.
const raceDetector = true
