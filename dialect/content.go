package dialect

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
)

// The most tokens of an image in the input.
//
// OpenAI's models split images into tiles or patches
// (https://developers.openai.com/api/docs/guides/images-vision). GPT-4o mini counts 2833
// tokens and 5667 per tile, with at most 8 tiles. Other models count at most 10 000
// patches with a factor of at most 2.46. Open models have at most 16 384 tokens
// (https://huggingface.co/Qwen/Qwen2-VL-7B-Instruct).
//
// Claude's models count at most 4784 tokens
// (https://platform.claude.com/docs/en/build-with-claude/vision). Gemini's count 258 per
// tile of an image of at most 3072 pixels, or at most 2240
// (https://ai.google.dev/gemini-api/docs/media-resolution).
const (
	miniImageTokens   = 2833 + 8*5667
	imageTokens       = 25_000
	claudeImageTokens = 5000
	geminiImageTokens = 10_000
)

// The most tokens that a provider adds to the input. Anthropic's prompt for tools has up
// to 804 tokens, and each tool that it defines up to 735
// (https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview).
const (
	toolsTokens   = 1000
	ownToolTokens = 1000
)

// imageTokens returns the most tokens of an image in the input.
func (d *Dialect) imageTokens(model string) int64 {
	switch {
	case d == anthropic:
		return claudeImageTokens
	case d == gemini && strings.HasPrefix(model, "gemini-"):
		return geminiImageTokens
	case strings.Contains(model, "gpt-4o-mini"), d == azure: // a deployment may run any model
		return miniImageTokens
	}
	return imageTokens
}

// partTypes are the types of parts whose cost is bounded by their length or by checks of
// their fields.
var partTypes = []string{
	"message", "text", "input_text", "output_text", "summary_text", "reasoning_text", "refusal",
	"image_url", "input_image", "input_audio", "output_audio", "image", "base64",
	"function", "function_call", "function_call_output", "custom", "custom_tool_call", "custom_tool_call_output",
	"tool_use", "tool_result", "document", "content", "search_result",
	"reasoning", "thinking", "redacted_thinking", "compaction_trigger",
	"ephemeral", "default",
}

// ownValues are fields with arbitrary JSON of the caller, which the model reads as text.
var ownValues = []string{
	"arguments", "args", "json", "functionCall", "function_call", "functionResponse", "function_response", "toolUse",
	"citations", "annotations", "logprobs", "partMetadata",
}

// standIns are fields that refer to content outside the request.
var standIns = []string{
	"file", "file_id", "fileId", "file_url", "fileUrl", "file_uri", "fileUri", "file_data", "fileData", "audio",
	"container", "container_id", "cachedContent", "cached_content", "s3Location", "item_reference",
}

// unboundedMedia are fields with media whose cost has no bound.
var unboundedMedia = []string{"video", "video_url", "videoMetadata", "video_metadata", "document_url"}

// readContent checks messages and other fields that may contain media.
func readContent(b *bounder, m member) error { return b.content(m.name, m.value, 0) }

// maxContentDepth is the deepest nesting of parts.
const maxContentDepth = 16

// content checks a value in the input.
func (b *bounder) content(name string, value []byte, depth int) error {
	if depth > maxContentDepth {
		return unbounded(name, "it is nested deeper than %d levels; send it flat", maxContentDepth)
	}
	switch value[0] {
	case '[':
		values, err := listValues(member{name, value})
		if err != nil {
			return err
		}
		for _, v := range values {
			if err := b.content(name, v, depth+1); err != nil {
				return err
			}
		}
	case '{':
		return b.part(name, value, depth)
	}
	return nil
}

// part checks an object in the input.
func (b *bounder) part(name string, value []byte, depth int) error {
	members, err := objectMembers(member{name, value})
	if err != nil {
		return err
	}
	kind, _ := textOf(members, "type")
	if kind != "" && !slices.Contains(partTypes, kind) {
		return unbounded("type", "the cost of parts of the type %q has no bound; remove them", quotable(kind))
	}
	for _, m := range members {
		if string(m.value) == "null" {
			continue
		}
		if err := b.partMember(kind, m, depth); err != nil {
			return err
		}
	}
	return nil
}

// partMember checks a field of an object in the input.
func (b *bounder) partMember(kind string, m member, depth int) error {
	switch {
	case m.name == "audio" && m.value[0] == '"': // Realtime's
		return b.rawSound(m.value)
	case slices.Contains(standIns, m.name):
		return unbounded(m.name, ruleStored)
	case slices.Contains(unboundedMedia, m.name):
		return unbounded(m.name, ruleMedia)
	case slices.Contains(ownValues, m.name), m.name == "input" && kind == "tool_use":
		return b.ownValue(m)
	}
	switch m.name {
	case "image_url":
		return b.imageURL(m)
	case "input_audio":
		return b.inputAudio(m)
	case "source":
		return b.source(kind, m, depth)
	case "inlineData", "inline_data":
		return b.inlineData(m)
	case "image": // Bedrock's
		return b.bedrockImage(m)
	case "document": // Bedrock's
		return unbounded(m.name, ruleMedia)
	case "ttl":
		b.lives(m.value)
	case "cache_control", "cachePoint":
		b.cache = max(b.cache, writesCache)
	}
	return b.content(m.name, m.value, depth+1)
}

// lives records the lifetime of a cache write.
func (b *bounder) lives(ttl []byte) {
	b.cache = max(b.cache, writesCache)
	if string(ttl) != `"5m"` {
		b.cache = writesLonger
	}
}

// ownValue accepts arbitrary JSON of the caller. It refuses media in the results of
// Gemini's functions.
func (b *bounder) ownValue(m member) error {
	if m.value[0] == '{' && (m.name == "functionResponse" || m.name == "function_response") {
		members, err := objectMembers(m)
		if err != nil {
			return err
		}
		for _, one := range members {
			if one.name == "parts" && string(one.value) != "null" {
				return unbounded(m.name+".parts", ruleMedia)
			}
		}
	}
	return nil
}

// imageURL checks the URL of an image. It must be a data URL.
func (b *bounder) imageURL(m member) error {
	address := m.value
	if address[0] == '{' {
		members, err := objectMembers(m)
		if err != nil {
			return err
		}
		address = nil
		for _, one := range members {
			if one.name == "url" {
				address = one.value
			}
		}
	}
	if !bytes.HasPrefix(address, []byte(`"data:`)) {
		return unbounded(m.name, ruleElsewhere)
	}
	kind, _, ok := strings.Cut(string(address[len(`"data:`):min(len(address), 100)]), ";")
	if !ok {
		return unbounded(m.name, ruleMedia)
	}
	kind = strings.ReplaceAll(kind, `\/`, "/") // some encoders escape every slash
	return b.image(m.name, kind, address)
}

// image counts an image in the body.
func (b *bounder) image(field, kind string, data []byte) error {
	switch strings.ToLower(kind) {
	case "image/png", "image/jpeg", "image/jpg", "image/gif", "image/webp", "image/heic", "image/heif", "png", "jpeg", "gif", "webp":
		b.inline += int64(len(data))
		b.tokens += b.describes
		return nil
	}
	return unbounded(field, ruleMedia)
}

// source checks the source of Anthropic's images and documents. It accepts text and
// images.
func (b *bounder) source(kind string, m member, depth int) error {
	if m.value[0] != '{' {
		return nil // the URL of a search result, which is text
	}
	members, err := objectMembers(m)
	if err != nil {
		return err
	}
	from, _ := textOf(members, "type")
	mediaType, _ := textOf(members, "media_type")
	switch from {
	case "text", "content":
		return b.content(m.name, m.value, depth+1)
	case "url":
		return unbounded("source.url", ruleElsewhere)
	case "base64":
		if kind != "image" {
			return unbounded(m.name, ruleMedia)
		}
		return b.image("source.media_type", mediaType, dataOf(members, "data"))
	}
	return unbounded(m.name, ruleStored)
}

// inlineData checks media in a request to Gemini.
func (b *bounder) inlineData(m member) error {
	members, err := objectMembers(m)
	if err != nil {
		return err
	}
	kind, ok := textOf(members, "mimeType")
	if !ok {
		kind, _ = textOf(members, "mime_type")
	}
	data := dataOf(members, "data")
	if strings.HasPrefix(kind, "audio/") {
		return b.sound(m.name, data)
	}
	return b.image(m.name+".mimeType", kind, data)
}

// bedrockImage checks an image in a request to Bedrock's Converse.
func (b *bounder) bedrockImage(m member) error {
	members, err := objectMembers(m)
	if err != nil {
		return err
	}
	format, _ := textOf(members, "format")
	for _, one := range members {
		if one.name != "source" {
			continue
		}
		source, err := objectMembers(one)
		if err != nil {
			return err
		}
		data := dataOf(source, "bytes")
		if data == nil || len(source) != 1 {
			return unbounded("image.source", ruleElsewhere)
		}
		return b.image("image.format", format, data)
	}
	return unbounded("image.source", ruleMedia)
}

// inputAudio checks a recording in a request to Chat Completions.
func (b *bounder) inputAudio(m member) error {
	members, err := objectMembers(m)
	if err != nil {
		return err
	}
	return b.sound(m.name, dataOf(members, "data"))
}

// sound measures a recording in base64.
func (b *bounder) sound(field string, quoted []byte) error {
	if len(quoted) < 2 || quoted[0] != '"' {
		return unbounded(field, ruleSound)
	}
	data, err := base64.StdEncoding.DecodeString(string(quoted[1 : len(quoted)-1]))
	if err != nil {
		return unbounded(field, ruleSound)
	}
	n, ok := soundLength(data)
	if !ok {
		return unbounded(field, ruleSound)
	}
	b.inline += int64(len(quoted))
	b.recorded += n
	b.Usage.AudioInput += soundTokens(n)
	return nil
}

// rawSound measures audio in base64 that has at least slowestSound bytes per second.
func (b *bounder) rawSound(quoted []byte) error {
	n := millisecondsOf(int64(len(quoted))*3/4, slowestSound)
	b.inline += int64(len(quoted))
	b.recorded += n
	b.Usage.AudioInput += soundTokens(n)
	return nil
}

// dataOf returns the raw value of a member, or nil.
func dataOf(members []member, name string) []byte {
	for _, m := range members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}
