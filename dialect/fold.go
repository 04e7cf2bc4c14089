package dialect

// usage converts counts to disjoint kinds.
func (c *counts) usage(f *answerForm) Usage {
	u := Usage{Requests: 1, Searches: c.n[searches]}
	in := c.input()
	out, reasoning := c.output(in.total)

	c.splitInput(&u, in, f)
	c.splitOutput(&u, out, f)
	u.Reasoning = min(reasoning, u.Output)
	c.addTime(&u, in.total+out, f)
	return u
}

// input is the input in all modalities.
type input struct {
	total   int64 // without the two below
	read    int64 // cache reads within the total
	written int64 // cache writes within the total

	readBeside, writtenBeside int64 // cache reads and writes beside the total
}

// input determines whether the input includes cache reads and writes.
//
// Providers that call it the prompt include them. OpenAI's Responses API does so too,
// but Anthropic and Bedrock do not. The names of the cache fields tell them apart.
func (c *counts) input() input {
	in := input{total: c.n[inputTokens]}
	switch {
	case c.told(promptTokens):
		in.total = c.n[promptTokens]
	case !c.told(inputTokens):
		in.total = c.n[processedIn]
	}
	if !c.told(outputTokens) && !c.told(processedOut) && !c.told(audioMilliseconds) {
		in.total = max(in.total, c.n[totalTokens]) // embeddings may report only a total
	}
	if !c.told(promptTokens) && !c.told(cachedInside) && !c.told(writtenInside) {
		in.readBeside = c.n[cachedBeside]
		in.writtenBeside = max(c.n[writtenBeside], c.n[writtenMinutes]+c.n[writtenHour])
		return in
	}

	// A part that is larger than the whole is invalid.
	in.read = max(c.n[cachedInside], c.n[cachedBeside])
	if in.read > in.total {
		in.read = 0
	}
	in.written = max(c.n[writtenInside], c.n[writtenBeside])
	if in.written > in.total-in.read {
		in.written = 0
	}
	return in
}

// output returns the output and the reasoning in it. If the total is larger than prompt
// plus completion, the rest is reasoning that the completion excludes.
func (c *counts) output(in int64) (out, reasoning int64) {
	out, reasoning = c.n[outputTokens], c.n[reasoningTokens]
	if !c.told(outputTokens) {
		out = c.n[processedOut]
	}
	rest := c.n[thoughtTokens]
	if rest == 0 && c.told(promptTokens) && c.told(outputTokens) && !c.told(audioMilliseconds) {
		rest = max(c.n[totalTokens]-in-out, 0)
	}
	if reasoning == 0 {
		reasoning = rest
	}
	return out + rest, reasoning
}

// splitInput splits the input by modality and by its use of the cache. Cache reads of an
// unknown modality count as text first.
func (c *counts) splitInput(u *Usage, in input, f *answerForm) {
	audio, image := c.n[audioIn], c.n[imageIn]
	if f.listens && !c.told(audioIn) && !c.told(audioMilliseconds) {
		audio = in.total
	}
	if in.total == 0 && !c.told(promptTokens) && !c.told(inputTokens) {
		in.total = audio + image
	}
	audio = min(audio, in.total)
	image = min(image, in.total-audio)
	text := in.total - audio - image

	u.AudioCacheRead = min(c.n[cachedAudio], audio, in.read)
	u.ImageCacheRead = min(c.n[cachedImage], image, in.read-u.AudioCacheRead)
	rest := in.read - u.AudioCacheRead - u.ImageCacheRead
	u.CacheRead = min(rest, text)
	rest -= u.CacheRead
	more := min(rest, audio-u.AudioCacheRead)
	u.AudioCacheRead += more
	u.ImageCacheRead += min(rest-more, image-u.ImageCacheRead)

	written := min(in.written, text-u.CacheRead)
	u.Input = text - u.CacheRead - written + c.n[toolPromptTokens]
	u.AudioInput = audio - u.AudioCacheRead
	u.ImageInput = image - u.ImageCacheRead
	u.CacheRead += in.readBeside
	written += in.writtenBeside
	u.CacheWriteHour = min(written, max(c.n[writtenHour], c.n[writtenLong]))
	u.CacheWrite = written - u.CacheWriteHour
}

// splitOutput splits the output by modality.
func (c *counts) splitOutput(u *Usage, out int64, f *answerForm) {
	u.AudioOutput = min(c.n[audioOut], out)
	u.ImageOutput = min(c.n[imageOut], out-u.AudioOutput)
	if f.images && !c.told(imageOut) {
		u.ImageOutput = out - u.AudioOutput - min(c.n[textOut], out-u.AudioOutput)
	}
	if f.speaks && !c.told(audioOut) {
		u.AudioOutput = out - u.ImageOutput
	}
	u.Output = out - u.AudioOutput - u.ImageOutput
}

// addTime adds billed time. The length of a recording counts only if there are no
// tokens. Audio tokens of a prompt may be in the total only.
func (c *counts) addTime(u *Usage, tokens int64, f *answerForm) {
	switch {
	case c.told(milliseconds):
		u.Milliseconds = c.n[milliseconds]
	case c.told(audioMilliseconds):
		u.Milliseconds = c.n[audioMilliseconds]
		u.AudioInput += max(c.n[totalTokens]-tokens, 0)
	case f.listens && tokens == 0 && c.told(recorded):
		u.Milliseconds = c.n[recorded] * c.perChannel(channels)
	case f.listens && tokens == 0 && c.told(socketRecorded):
		u.Milliseconds = c.n[socketRecorded] * c.perChannel(socketChannels)
	}
}

// perChannel returns the number of billed channels.
func (c *counts) perChannel(q quantity) int64 { return min(max(c.n[q], 1), 1000) }

// cost returns the cost that the provider reported. If the caller's own key paid for the
// model, that includes the cost elsewhere.
func (c *counts) cost(ownKey bool) (int64, bool) {
	switch {
	case c.told(nanoUSD) && ownKey:
		return c.n[nanoUSD] + c.n[upstreamUSD], true
	case c.told(nanoUSD):
		return c.n[nanoUSD], true
	case c.told(ticks):
		return (c.n[ticks] + 9) / 10, true
	}
	return 0, false
}

// plus adds up two usages.
func (u Usage) plus(v Usage) Usage {
	u.Requests += v.Requests
	u.Input += v.Input
	u.CacheRead += v.CacheRead
	u.CacheWrite += v.CacheWrite
	u.CacheWriteHour += v.CacheWriteHour
	u.Output += v.Output
	u.Reasoning += v.Reasoning
	u.AudioInput += v.AudioInput
	u.AudioCacheRead += v.AudioCacheRead
	u.AudioOutput += v.AudioOutput
	u.ImageInput += v.ImageInput
	u.ImageCacheRead += v.ImageCacheRead
	u.ImageOutput += v.ImageOutput
	u.Milliseconds += v.Milliseconds
	u.Images += v.Images
	u.Characters += v.Characters
	u.Searches += v.Searches
	return u
}

// complete reports whether the answer told that it is complete. A stream of several
// candidates does not tell which is the last to finish.
func (s *sink) complete() bool { return s.done || s.finished && (s.ended || !s.several) }

// reading returns the result.
func (s *sink) reading() Reading {
	r := Reading{Model: s.model, Tier: s.tier, Failed: s.failed, Done: s.complete() && !s.cut}
	if s.fast {
		r.Tier = "fast"
	}
	told := &s.kept
	if told.has == 0 {
		told = &s.fallback
	}

	r.Known = told.has != 0 || s.images > 0
	r.Usage = told.usage(s.form)
	if s.extra.has != 0 {
		more := s.extra.usage(s.form)
		more.Requests = 0
		r.Usage = r.Usage.plus(more)
	}
	r.Images = s.images
	r.Searches += s.performed
	r.Cost, r.HasCost = told.cost(s.ownKey)
	return r
}
