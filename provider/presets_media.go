package provider

// media are providers of images and videos. Their answers often hold public addresses
// of what was made. A webhook in a request's body sends the answer to another address.
var media = []Preset{
	{
		Name: "fal", Title: "fal", BaseURL: "https://fal.run", Credential: Placement{Header: "Authorization", Prefix: "Key "}, Env: "FAL_KEY",
		AlsoReads: []Placement{bearer, {Query: "fal_jwt_token"}, {Query: "fal_webhook", Option: true}},
		// Without queue.fal.run, whose results are stored, and without apps of other
		// owners, which may be the account's own.
		Routes: []string{
			"POST /fal-ai/{app}",
			"POST /fal-ai/{app}/{path}",
			"POST /fal-ai/{app}/{path}/{rest}",
			"POST /fal-ai/{app}/{path}/{more}/{rest}",
		},
		Dialect: "generic", Docs: "https://docs.fal.ai/model-apis/model-endpoints/synchronous-requests",
	},
	{
		Name: "ideogram", Title: "Ideogram", BaseURL: "https://api.ideogram.ai", Credential: Placement{Header: "Api-Key"}, Env: "IDEOGRAM_API_KEY",
		Routes:  posts("/v1/ideogram-v3", "generate", "edit", "remix", "reframe", "replace-background"),
		Dialect: "generic", Docs: "https://developer.ideogram.ai/api-reference/api-reference/generate-v3",
	},
	{
		Name: "recraft", Title: "Recraft", BaseURL: "https://external.api.recraft.ai", Credential: bearer, Env: "RECRAFT_API_TOKEN",
		// Without /v1/styles, which the account stores.
		Routes: posts("/v1/images", "generations", "imageToImage", "inpaint", "replaceBackground", "generateBackground",
			"removeBackground", "vectorize", "crispUpscale", "creativeUpscale", "eraseRegion"),
		Dialect: "openai", Docs: "https://www.recraft.ai/docs/api-reference/endpoints",
	},
	{
		// With the header "Prefer: wait" the answer has the result:
		// https://replicate.com/docs/topics/predictions/create-a-prediction
		Name: "replicate", Title: "Replicate", BaseURL: "https://api.replicate.com", Credential: bearer, Env: "REPLICATE_API_TOKEN",
		AlsoReads: []Placement{{Header: "Authorization", Prefix: "Token "}}, // the former prefix
		// Without GET /v1/predictions, which reads what the account has stored, and
		// deployments, trainings and files.
		Routes:  []string{"POST /v1/models/{owner}/{name}/predictions"},
		Dialect: "generic", Docs: "https://replicate.com/docs/reference/http",
	},
	{
		// Everything is a job. A back-end reads its result with GET /v1/tasks/{id}, or an
		// operator opens that path too.
		Name: "runway", Title: "Runway", BaseURL: "https://api.dev.runwayml.com", Credential: bearer, Env: "RUNWAYML_API_SECRET",
		// Without /v1/realtime_sessions, which mints credentials, and avatars, voices,
		// documents and workflows of the account.
		Routes: posts("/v1", "image_to_video", "video_to_video", "text_to_video", "text_to_image", "character_performance",
			"text_to_speech", "sound_effect", "voice_isolation", "voice_dubbing", "speech_to_speech", "image_upscale", "video_upscale"),
		Dialect: "openai", Docs: "https://docs.dev.runwayml.com/api/",
	},
	{
		Name: "stability", Title: "Stability AI", BaseURL: "https://api.stability.ai", Credential: bearer, Env: "STABILITY_API_KEY",
		AlsoReads: []Placement{{Header: "Organization", Option: true}},
		// Without upscale/creative and image-to-video, which are jobs.
		Routes: append(posts("/v2beta/stable-image",
			"generate/ultra", "generate/core", "generate/sd3",
			"edit/erase", "edit/inpaint", "edit/outpaint", "edit/search-and-replace", "edit/search-and-recolor", "edit/remove-background",
			"control/sketch", "control/structure", "control/style", "control/style-transfer",
			"upscale/conservative", "upscale/fast"),
			posts("/v2beta", "audio/stable-audio-2/text-to-audio", "audio/stable-audio-2/audio-to-audio",
				"3d/stable-fast-3d", "3d/stable-point-aware-3d")...),
		Dialect: "generic", Docs: "https://platform.stability.ai/docs/api-reference",
	},
}
