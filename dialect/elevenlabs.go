package dialect

import "strings"

// elevenlabs names the model in model_id: in a JSON body, in a form, or in the query
// of a socket
// (https://elevenlabs.io/docs/api-reference/text-to-speech/convert).
var elevenlabs = &Dialect{
	name:    "elevenlabs",
	query:   []string{"model_id"},
	member:  "model_id",
	lists:   []string{"/v1/models"},
	without: []string{"/v1/audio-isolation", "/v1/audio-isolation/stream"},
	inQuery: func(path string) bool {
		return strings.HasSuffix(path, "stream-input") || path == "/v1/speech-to-text/realtime"
	},
}

// elevenlabsUsage maps the length of a recording
// (https://elevenlabs.io/docs/api-reference/speech-to-text/convert). Speech is billed by
// the characters of the text.
var elevenlabsUsage = []usageMember{{"audio_duration_secs", recorded}}
