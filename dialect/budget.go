package dialect

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// Fields whose length bounds their cost, and fields of several routes.
var (
	sampling = plainly("model", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty",
		"frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs", "user", "safety_identifier",
		"metadata", "store", "stream", "stream_options", "random_seed", "min_tokens", "reasoning_format", "include_reasoning",
		"chat_template_kwargs", "enable_thinking", "thinking_budget")
	tiers = map[string]check{"service_tier": readTier}

	// cached are fields that make OpenAI's models write the input to a cache.
	cached = map[string]check{
		"prompt_cache_key":       nil,
		"prompt_cache_retention": readRetention,
		"prompt_cache_options":   readRetention,
	}
)

// Bounds of the routes.
var (
	freeBounds = &bounds{}

	// https://developers.openai.com/api/reference/resources/chat
	chatBounds = &bounds{
		members: joined(sampling, tiers, cached, plainly("reasoning_effort", "reasoning", "verbosity",
			"response_format", "tool_choice", "parallel_tool_calls", "function_call", "thinking", "usage"), map[string]check{
			"messages":              readContent,
			"tools":                 readTools,
			"functions":             readFunctions,
			"n":                     readAnswers,
			"max_tokens":            readCap,
			"max_completion_tokens": readCap,
			"modalities":            only("text"),
			"web_search_options":    refuse(ruleHosted),
			"plugins":               refuse(ruleHosted),
		}),
		caps:  []string{"max_tokens", "max_completion_tokens"},
		begin: writesAutomatically,
	}

	// https://developers.openai.com/api/reference/resources/completions
	completionBounds = &bounds{
		members: joined(sampling, plainly("suffix", "echo"), map[string]check{
			"prompt":     readPrompts,
			"n":          readAnswers,
			"best_of":    readAnswers,
			"max_tokens": readCap,
		}),
		caps: []string{"max_tokens"},
	}

	// https://developers.openai.com/api/reference/resources/responses
	responsesBounds = &bounds{
		members: joined(sampling, tiers, cached, plainly("instructions", "reasoning", "text", "tool_choice",
			"parallel_tool_calls", "truncation", "include", "max_tool_calls", "client_metadata"), map[string]check{
			"input":                readItems,
			"tools":                readTools,
			"max_output_tokens":    readCap,
			"background":           onlyFalse,
			"previous_response_id": refuse(ruleStored),
			"conversation":         refuse(ruleStored),
			"prompt":               refuse(ruleStored),

			"type": only("response.create"), // of a message
		}),
		caps:  []string{"max_output_tokens"},
		begin: writesAutomatically,
	}

	// https://developers.openai.com/api/reference/resources/embeddings, and fields of
	// Cohere and Jina
	embeddingBounds = &bounds{
		members: joined(plainly("model", "encoding_format", "dimensions", "user", "input_type", "truncate"), map[string]check{
			"input": readContent,
		}),
	}

	// https://developers.openai.com/api/reference/resources/images
	imageBounds = &bounds{
		members: joined(imageMembers, plainly("prompt")),
		begin:   func(b *bounder) { b.images = largestImage },
		finish:  finishImages,
	}
	editBounds = &bounds{
		members: joined(imageMembers, plainly("prompt", "input_fidelity"), map[string]check{
			"image": readImagePart, "image[]": readImagePart, "mask": readImagePart,
		}),
		forms:  true,
		begin:  func(b *bounder) { b.images = largestImage },
		finish: finishImages,
	}

	// https://developers.openai.com/api/reference/resources/audio
	speechBounds = &bounds{
		members: joined(plainly("model", "voice", "instructions", "response_format", "speed", "stream_format"), map[string]check{
			"input": readSpoken,
		}),
		finish: finishSpeech,
	}
	transcriptionBounds = &bounds{
		members: joined(plainly("model", "language", "prompt", "response_format", "temperature", "stream",
			"timestamp_granularities[]", "include[]", "chunking_strategy"), map[string]check{
			"file": readRecording,
		}),
		forms:  true,
		finish: finishTranscription,
	}

	// https://platform.claude.com/docs/en/api/messages, and the version of the API
	// that bodies have on Bedrock. diagnostics asks why a cache was missed
	// (https://platform.claude.com/docs/en/build-with-claude/cache-diagnostics); the model
	// does not run for it.
	messagesBounds = &bounds{
		members: joined(plainly("model", "metadata", "stop_sequences", "stream", "temperature", "top_k", "top_p", "thinking",
			"tool_choice", "output_config", "output_format", "anthropic_version", "diagnostics"), map[string]check{
			"messages":      readContent,
			"system":        readContent,
			"cache_control": readCacheControl,
			"tools":         readAnthropicTools,
			"max_tokens":    readCap,

			"context_management": readContextEdits,

			"service_tier": only("auto", "standard_only"),
			"speed":        only("standard"),
			"mcp_servers":  refuse(ruleHosted),
			"container":    refuse(ruleHosted),
		}),
		caps: []string{"max_tokens"},
	}

	// https://ai.google.dev/api/generate-content
	geminiBounds = &bounds{
		members: joined(plainly("model", "toolConfig", "tool_config", "safetySettings", "safety_settings", "labels", "store"),
			map[string]check{
				"contents":           readContent,
				"systemInstruction":  readContent,
				"system_instruction": readContent,
				"tools":              readGeminiTools,
				"generationConfig":   within(geminiConfig),
				"generation_config":  within(geminiConfig),
				"serviceTier":        readTier,
				"cachedContent":      refuse(ruleStored),
				"cached_content":     refuse(ruleStored),
			}),
		caps: []string{"generation_config.max_output_tokens", "generation_config.maxOutputTokens",
			"generationConfig.max_output_tokens", "generationConfig.maxOutputTokens"},
	}

	// https://ai.google.dev/api/embeddings
	geminiEmbeddingBounds = &bounds{
		members: joined(plainly("model", "taskType", "task_type", "title", "outputDimensionality", "output_dimensionality"), map[string]check{
			"content": readContent, "requests": readContent,
		}),
	}

	// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
	converseBounds = &bounds{
		members: joined(plainly("promptVariables", "requestMetadata", "additionalModelResponseFieldPaths"), map[string]check{
			"messages":                     readContent,
			"system":                       readContent,
			"toolConfig":                   within(map[string]check{"tools": readConverseTools, "toolChoice": nil}),
			"inferenceConfig":              within(map[string]check{"maxTokens": readConverseCap, "temperature": nil, "topP": nil, "stopSequences": nil}),
			"additionalModelRequestFields": within(plainly("thinking", "top_k")),
			"serviceTier":                  within(map[string]check{"type": readTier}),
		}),
		caps: []string{"inferenceConfig.maxTokens"},
	}
	invokeBounds = messagesBounds
)

// imageMembers are the fields of requests for images. The sizes are those of gpt-image-1,
// whose tokens are documented.
var imageMembers = joined(plainly("model", "style", "user", "background", "moderation", "output_format", "output_compression",
	"response_format", "stream"), map[string]check{
	"n":              readAnswers,
	"size":           only("auto", "1024x1024", "1024x1536", "1536x1024", "256x256", "512x512", "1792x1024", "1024x1792"),
	"quality":        only("auto", "low", "medium", "high", "standard", "hd"),
	"partial_images": readPartialImages,
})

// The most tokens of a generated image, and the tokens of a partial image in a stream
// (https://developers.openai.com/api/docs/guides/image-generation#cost-and-latency).
const (
	largestImage  = 6240
	partialTokens = 100
)

// geminiConfig are the fields of Gemini's generationConfig in both spellings
// (https://protobuf.dev/programming-guides/json).
var geminiConfig = joined(plainly("temperature", "topP", "top_p", "topK", "top_k", "stopSequences", "stop_sequences", "seed",
	"presencePenalty", "presence_penalty", "frequencyPenalty", "frequency_penalty", "responseMimeType", "response_mime_type",
	"responseSchema", "response_schema", "responseJsonSchema", "response_json_schema", "responseLogprobs", "response_logprobs",
	"logprobs", "thinkingConfig", "thinking_config", "mediaResolution", "media_resolution"), map[string]check{
	"maxOutputTokens":     readGeminiCap,
	"max_output_tokens":   readGeminiCap,
	"candidateCount":      readAnswers,
	"candidate_count":     readAnswers,
	"responseModalities":  only("TEXT"),
	"response_modalities": only("TEXT"),
})

// readGeminiCap reads the cap in a generationConfig.
func readGeminiCap(b *bounder, m member) error {
	return b.readCap(m, "generationConfig."+m.name)
}

// readConverseCap reads the cap in an inferenceConfig.
func readConverseCap(b *bounder, m member) error {
	return b.readCap(m, "inferenceConfig."+m.name)
}

// writesAutomatically records that OpenAI's models cache their input by default. Writes
// cost extra since GPT-5.6.
func writesAutomatically(b *bounder) {
	if b.d == openai || b.d == azure || b.d == generic {
		b.cache = writesCache
	}
}

// readRetention records that the cache may keep the input for hours.
func readRetention(b *bounder, _ member) error {
	b.cache = writesLonger
	return nil
}

// readCacheControl reads the lifetime of a cache write.
func readCacheControl(b *bounder, m member) error {
	b.cache = max(b.cache, writesCache)
	return b.content(m.name, m.value, 0)
}

// readTools checks OpenAI's tools. The client runs functions and custom tools, also those
// in a namespace (https://developers.openai.com/api/docs/guides/function-calling).
func readTools(b *bounder, m member) error {
	return b.eachTool(m, func(kind string, tool []member) error {
		switch inner := dataOf(tool, "tools"); {
		case kind == "function", kind == "custom":
			return nil
		case kind == "namespace" && inner != nil:
			return readTools(b, member{m.name, inner})
		}
		return unbounded(m.name, ruleHosted)
	})
}

// contextEdits are the prefixes of the types of edits that remove content before the
// model reads the prompt. Compaction instead runs the model once more
// (https://platform.claude.com/docs/en/build-with-claude/context-editing).
var contextEdits = []string{"clear_tool_uses_", "clear_thinking_"}

// readContextEdits checks Anthropic's edits of the context.
func readContextEdits(_ *bounder, m member) error {
	members, err := objectMembers(m)
	if err != nil {
		return err
	}
	for _, one := range members {
		if one.name != "edits" {
			return unbounded(m.name+"."+one.name, ruleUnknown)
		}
		edits, err := listValues(one)
		if err != nil {
			return err
		}
		for _, v := range edits {
			edit, err := objectMembers(member{m.name, v})
			if err != nil {
				return err
			}
			kind, _ := textOf(edit, "type")
			if !slices.ContainsFunc(contextEdits, func(start string) bool { return strings.HasPrefix(kind, start) }) {
				return unbounded(m.name, ruleUnknown)
			}
		}
	}
	return nil
}

// eachTool calls f with every tool, and counts the provider's prompt for tools.
func (b *bounder) eachTool(m member, f func(kind string, tool []member) error) error {
	values, err := listValues(m)
	if err != nil {
		return err
	}
	if len(values) > 0 {
		b.tokens += toolsTokens
	}
	for _, v := range values {
		tool, err := objectMembers(member{m.name, v})
		if err != nil {
			return err
		}
		kind, _ := textOf(tool, "type")
		if err := f(kind, tool); err != nil {
			return err
		}
	}
	return nil
}

// readFunctions reads OpenAI's older form of tools.
func readFunctions(b *bounder, _ member) error {
	b.tokens += toolsTokens
	return nil
}

// clientTools are the prefixes of the types of tools that Anthropic defines and the
// client runs.
var clientTools = []string{"bash_", "text_editor_", "memory_"}

// readAnthropicTools checks Anthropic's tools.
func readAnthropicTools(b *bounder, m member) error {
	return b.eachTool(m, func(kind string, tool []member) error {
		if control := dataOf(tool, "cache_control"); control != nil && string(control) != "null" {
			if err := readCacheControl(b, member{"cache_control", control}); err != nil {
				return err
			}
		}
		if kind == "" || kind == "custom" {
			return nil
		}
		for _, start := range clientTools {
			if strings.HasPrefix(kind, start) {
				b.tokens += ownToolTokens
				return nil
			}
		}
		return unbounded(m.name, ruleHosted)
	})
}

// readGeminiTools checks Gemini's tools.
func readGeminiTools(b *bounder, m member) error {
	return b.onlyMembers(m, "functionDeclarations", "function_declarations")
}

// readConverseTools checks the tools of Bedrock's Converse.
func readConverseTools(b *bounder, m member) error {
	if bytes.Contains(m.value, []byte(`"cachePoint"`)) {
		b.cache = writesLonger
	}
	return b.onlyMembers(m, "toolSpec", "cachePoint")
}

// onlyMembers refuses tools with other fields than these.
func (b *bounder) onlyMembers(m member, names ...string) error {
	return b.eachTool(m, func(_ string, tool []member) error {
		for _, one := range tool {
			known := false
			for _, name := range names {
				known = known || one.name == name
			}
			if !known {
				return unbounded(m.name+"."+one.name, ruleHosted)
			}
		}
		return nil
	})
}

// readItems checks the input of OpenAI's Responses API. An item without a type and a
// role refers to a stored item, and so does reasoning without its content.
func readItems(b *bounder, m member) error {
	if m.value[0] == '[' {
		values, err := listValues(m)
		if err != nil {
			return err
		}
		for _, v := range values {
			item, err := objectMembers(member{m.name, v})
			if err != nil {
				return err
			}
			kind, typed := textOf(item, "type")
			_, said := textOf(item, "role")
			text, _ := textOf(item, "encrypted_content")
			if !typed && !said || kind == "reasoning" && text == "" {
				return unbounded(m.name+".id", ruleStored)
			}
		}
	}
	return readContent(b, m)
}

// readPrompts counts the prompts of Completions. The field is a text, a list of tokens,
// or a list of either. Each prompt has its own answers.
func readPrompts(b *bounder, m member) error {
	if m.value[0] != '[' {
		return nil
	}
	values, err := listValues(m)
	if err != nil {
		return err
	}
	for _, v := range values {
		if v[0] == '"' || v[0] == '[' {
			b.prompts = int64(len(values))
		}
	}
	if b.prompts > maxAnswers {
		return unbounded(m.name, "it has more than %d prompts; send fewer", maxAnswers)
	}
	return nil
}

// readPartialImages reads the number of partial images.
func readPartialImages(b *bounder, m member) error {
	if string(m.value) == "0" {
		return nil
	}
	n, err := b.number(m, maxAnswers)
	b.partial = n
	return err
}

// readImagePart counts an image in a form.
func readImagePart(b *bounder, m member) error {
	if !b.form {
		return unbounded(m.name, ruleElsewhere)
	}
	b.inline += int64(len(m.value))
	b.Usage.ImageInput += imageTokens
	return nil
}

// finishImages computes the output of a request for images.
func finishImages(b *bounder) {
	b.Usage.Images = b.answers
	b.Usage.ImageOutput = b.answers * (b.images + b.partial*partialTokens)
}

// readSpoken counts the characters of a text to speak.
func readSpoken(b *bounder, m member) error {
	text, err := b.text(m)
	b.spoken = int64(utf8.RuneCountInString(text))
	return err
}

// Bounds of speech: a token lasts at least 50 ms
// (https://developers.openai.com/api/docs/guides/realtime-costs), and a character at most
// a second.
const (
	speechTokensPerCharacter = 20
	speechTokens             = 1000
)

// finishSpeech computes the output of a request for speech.
func finishSpeech(b *bounder) {
	b.Usage.Characters = b.spoken
	b.Usage.AudioOutput = b.spoken*speechTokensPerCharacter + speechTokens
}

// readRecording measures a recording in a form.
func readRecording(b *bounder, m member) error {
	n, ok := soundLength(m.value)
	if !ok || !b.form {
		return unbounded(m.name, ruleSound)
	}
	b.inline += int64(len(m.value))
	b.recorded += n
	return nil
}

// Bounds of a transcript: tokens per second of speech, and tokens for its format.
const (
	transcriptTokensPerSecond = 32
	transcriptTokens          = 1000
)

// finishTranscription computes the usage of a transcription, by time and by tokens.
func finishTranscription(b *bounder) {
	b.Usage.Milliseconds = b.recorded
	b.Usage.AudioInput = soundTokens(b.recorded)
	b.Usage.Output = b.recorded*transcriptTokensPerSecond/1000 + transcriptTokens
}
