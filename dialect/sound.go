package dialect

import (
	"encoding/binary"
)

// Only two formats bound the length of a recording. WAV with PCM states its byte rate,
// and MP3 has at least 8 kbit/s (ISO/IEC 11172-3 and 13818-3). Other formats can encode
// hours of silence in a few bytes.
const mp3BytesPerSecond = 1000

// soundLength returns the longest duration of a recording in milliseconds.
func soundLength(data []byte) (int64, bool) {
	switch {
	case len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WAVE":
		return wavLength(data)
	case isMP3(data):
		return millisecondsOf(int64(len(data)), mp3BytesPerSecond), true
	}
	return 0, false
}

// isMP3 reports whether data begins with an MP3 frame of a standard bit rate, after
// optional tags (https://id3.org/id3v2.4.0-structure, section 3.1).
func isMP3(data []byte) bool {
	const tagHeader = 10
	if len(data) >= tagHeader && string(data[:3]) == "ID3" {
		size := int(data[6]&0x7f)<<21 | int(data[7]&0x7f)<<14 | int(data[8]&0x7f)<<7 | int(data[9]&0x7f)
		data = data[min(tagHeader+size, len(data)):]
	}
	return len(data) >= 4 && data[0] == 0xff && data[1]&0xe6 == 0xe2 && data[2]>>4 != 0 && data[2]>>4 != 15
}

// millisecondsOf returns the duration of n bytes, rounded up.
func millisecondsOf(n, perSecond int64) int64 { return (n*1000 + perSecond - 1) / perSecond }

// wavLength returns the longest duration of a WAV file with PCM: that of all its bytes at
// the rate of its format (https://www.rfc-editor.org/rfc/rfc2361).
func wavLength(data []byte) (int64, bool) {
	const chunkHeader = 8
	for at := 12; at+chunkHeader <= len(data); {
		size := int64(binary.LittleEndian.Uint32(data[at+4:]))
		if string(data[at:at+4]) != "fmt " {
			next := int64(at) + chunkHeader + size + size&1
			if next > int64(len(data)) {
				return 0, false
			}
			at = int(next)
			continue
		}

		format := data[at+chunkHeader:]
		if size < 16 || int64(len(format)) < size {
			return 0, false
		}
		kind, channels := binary.LittleEndian.Uint16(format), int64(binary.LittleEndian.Uint16(format[2:]))
		rate, bits := int64(binary.LittleEndian.Uint32(format[4:])), int64(binary.LittleEndian.Uint16(format[14:]))
		perSecond := rate * channels * bits / 8
		if kind != 1 || rate < 8000 || bits < 8 || bits%8 != 0 || channels < 1 || perSecond > 1<<40 {
			return 0, false
		}
		return millisecondsOf(int64(len(data)), perSecond), true
	}
	return 0, false
}

// soundTokens returns the most tokens of a recording. Gemini counts 32 per second
// (https://ai.google.dev/gemini-api/docs/tokens), and OpenAI counts 10
// (https://developers.openai.com/api/docs/guides/realtime-costs).
func soundTokens(milliseconds int64) int64 { return (milliseconds*32+999)/1000 + 1 }
