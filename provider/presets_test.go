package provider

import (
	"slices"
	"testing"
)

const bearerKey = "Authorization: Bearer KEY"

// examples has every preset, sorted by name: where the relay puts a key, a call that
// the provider's page documents, and a call that a token must not make.
var examples = []struct{ preset, credential, allowed, refused string }{
	{"ai21", bearerKey, "POST /v1/chat/completions", "GET /v1/library/files"},
	{"anthropic", "x-api-key: KEY", "POST /v1/messages", "POST /v1/organizations/api_keys/k_1"},
	{"assemblyai", "Authorization: KEY", "WS /v3/ws", "GET /v3/token"},
	{"azure-openai", "api-key: KEY", "POST /openai/v1/responses", "POST /openai/files"},
	{"baichuan", bearerKey, "POST /v1/chat/completions", "POST /v1/assistants"},
	{"baseten", bearerKey, "POST /v1/chat/completions", "POST /v1/models/m/environments"},
	{"bedrock", bearerKey, "POST /model/m/converse", "POST /async-invoke"},
	{"brave-search", "X-Subscription-Token: KEY", "GET /res/v1/web/search", "GET /res/v1/summarizer/search"},
	{"byteplus", bearerKey, "POST /chat/completions", "GET /contents/generations/tasks"},
	{"cartesia", bearerKey, "POST /tts/bytes", "POST /access-token"},
	{"cerebras", bearerKey, "GET /v1/models/llama-x", "POST /v1/files"},
	{"cloudflare", bearerKey, "POST /ai/run/@cf/meta/llama-x", "GET /ai/finetunes"},
	{"cohere", bearerKey, "POST /v2/chat", "GET /v1/datasets"},
	{"dashscope", bearerKey, "POST /v1/chat/completions", "POST /api/v1/tokens"},
	{"dashscope-cn", bearerKey, "POST /v1/chat/completions", "POST /v1/batches"},
	{"databricks", bearerKey, "POST /serving-endpoints/llama-x/invocations", "GET /api/2.0/serving-endpoints"},
	{"deepgram", "Authorization: Token KEY", "WS /v1/listen", "POST /v1/auth/grant"},
	{"deepinfra", bearerKey, "POST /v1/inference/openai/whisper-x", "POST /v1/api-tokens"},
	{"deepl", "Authorization: DeepL-Auth-Key KEY", "POST /v2/translate", "POST /v2/admin/developer-keys"},
	{"deepseek", bearerKey, "POST /chat/completions", "GET /user/balance"},
	{"elevenlabs", "xi-api-key: KEY", "POST /v1/text-to-speech/v_1", "GET /v1/history"},
	{"exa", "x-api-key: KEY", "POST /search", "GET /research/v1"},
	{"fal", "Authorization: Key KEY", "POST /fal-ai/flux-pro/v1.1", "GET /fal-ai/flux-pro/requests/r_1"},
	{"featherless", bearerKey, "POST /v1/completions", "GET /v1/account"},
	{"firecrawl", bearerKey, "POST /v2/scrape", "GET /v2/crawl/active"},
	{"fireworks", bearerKey, "POST /v1/messages", "POST /v1/accounts/a/users/u/apiKeys"},
	{"friendli", bearerKey, "POST /v1/chat/completions", "POST /v1/files"},
	{"gemini", "x-goog-api-key: KEY", "POST /v1beta/models/m:generateContent", "POST /v1alpha/auth_tokens"},
	{"github-models", bearerKey, "POST /inference/chat/completions", "POST /orgs/o/inference/chat/completions"},
	{"groq", bearerKey, "POST /v1/chat/completions", "POST /v1/batches"},
	{"huggingface", bearerKey, "POST /hf-inference/models/a/b/pipeline/feature-extraction", "GET /api/whoami-v2"},
	{"hume", "X-Hume-Api-Key: KEY", "POST /v0/tts", "GET /v0/evi/chats"},
	{"hunyuan", bearerKey, "POST /v1/chat/completions", "POST /v1/files/uploads"},
	{"hyperbolic", bearerKey, "POST /v1/image/generation", "POST /v1/marketplace/instances/create"},
	{"ideogram", "Api-Key: KEY", "POST /v1/ideogram-v3/generate", "POST /manage/api/api_keys"},
	{"inception", bearerKey, "POST /v1/fim/completions", "GET /v1/usage"},
	{"jina", bearerKey, "POST /v1/embeddings", "GET /v1/classifiers"},
	{"linkup", bearerKey, "POST /v1/search", "GET /v1/credits/balance"},
	{"litellm", bearerKey, "POST /v1/chat/completions", "POST /key/generate"},
	{"llama-cpp", bearerKey, "POST /completion", "GET /slots"},
	{"lm-studio", bearerKey, "POST /v1/chat/completions", "POST /api/v1/models/load"},
	{"lmnt", "x-api-key: KEY", "POST /v1/ai/speech/bytes", "POST /v1/ai/voice"},
	{"localai", bearerKey, "POST /v1/chat/completions", "POST /models/apply"},
	{"meta-llama", bearerKey, "POST /v1/chat/completions", "POST /v1/files"},
	{"minimax", bearerKey, "WS /ws/v1/t2a_v2", "POST /v1/voice_clone"},
	{"minimax-cn", bearerKey, "POST /anthropic/v1/messages", "GET /v1/files/retrieve"},
	{"mistral", bearerKey, "POST /v1/fim/completions", "POST /v1/conversations"},
	{"mixedbread", bearerKey, "POST /v1/reranking", "POST /v1/stores/search"},
	{"moonshot", bearerKey, "POST /v1/chat/completions", "GET /v1/users/me/balance"},
	{"moonshot-cn", bearerKey, "POST /v1/chat/completions", "GET /v1/users/me/balance"},
	{"morph", bearerKey, "POST /v1/rerank", "GET /v1/usage"},
	{"nebius", bearerKey, "POST /v1/chat/completions", "POST /v1/datasets"},
	{"nomic", bearerKey, "POST /v1/embedding/text", "GET /v1/user"},
	{"novita", bearerKey, "POST /v1/chat/completions", "GET /v1/batches/b_1"},
	{"nvidia", bearerKey, "POST /v1/embeddings", "GET /v1/status/r_1"},
	{"ollama", bearerKey, "POST /api/chat", "POST /api/pull"},
	{"ollama-cloud", bearerKey, "POST /api/chat", "POST /api/create"},
	{"openai", bearerKey, "POST /v1/responses", "POST /v1/realtime/client_secrets"},
	{"openai-compatible", bearerKey, "POST /v1/rerank", "GET /v1/responses/resp_1"},
	{"openrouter", bearerKey, "POST /v1/messages", "POST /v1/keys"},
	{"ovhcloud", bearerKey, "POST /v1/audio/transcriptions", "POST /v1/batches"},
	{"perplexity", bearerKey, "POST /v1/responses", "GET /async/chat/completions"},
	{"pinecone", "Api-Key: KEY", "POST /embed", "GET /indexes"},
	{"poe", bearerKey, "POST /v1/chat/completions", "GET /usage/points_history"},
	{"qianfan", bearerKey, "POST /chat/completions", "POST /files"},
	{"recraft", bearerKey, "POST /v1/images/vectorize", "POST /v1/styles"},
	{"replicate", bearerKey, "POST /v1/models/a/b/predictions", "GET /v1/predictions/p_1"},
	{"requesty", bearerKey, "POST /v1/messages", "POST /v1/manage/apikey"},
	{"runway", bearerKey, "POST /v1/text_to_image", "GET /v1/tasks/t_1"},
	{"sambanova", bearerKey, "POST /v1/messages", "POST /v1/files"},
	{"scaleway", bearerKey, "POST /v1/chat/completions", "POST /v1/batches"},
	{"sglang", bearerKey, "POST /generate", "POST /update_weights_from_disk"},
	{"siliconflow", bearerKey, "POST /v1/chat/completions", "GET /v1/user/info"},
	{"siliconflow-cn", bearerKey, "POST /v1/rerank", "GET /v1/user/info"},
	{"speechmatics", bearerKey, "WS /v2", "GET /v2/jobs"},
	{"stability", bearerKey, "POST /v2beta/stable-image/generate/core", "GET /v2beta/results/r_1"},
	{"stepfun", bearerKey, "WS /v1/realtime", "POST /v1/audio/voices"},
	{"tavily", bearerKey, "POST /search", "GET /usage"},
	{"together", bearerKey, "POST /v1/chat/completions", "POST /v1/fine-tunes"},
	{"upstage", bearerKey, "POST /v1/solar/chat/completions", "POST /v1/document-digitization/async"},
	{"venice", bearerKey, "POST /v1/image/generate", "POST /v1/api_keys"},
	{"vercel", bearerKey, "POST /v1/messages", "POST /v4/ai/language-model"},
	{"vertex", bearerKey, "POST /v1/projects/p/locations/l/publishers/google/models/m:generateContent", "POST /v1/projects/p/locations/l/endpoints/1:predict"},
	{"vllm", bearerKey, "POST /score", "POST /v1/load_lora_adapter"},
	{"volcengine", bearerKey, "POST /embeddings/multimodal", "POST /context/create"},
	{"voyage", bearerKey, "POST /v1/rerank", "POST /v1/batches"},
	{"wandb", bearerKey, "POST /v1/chat/completions", "POST /v1/files"},
	{"wolfram-alpha", "?appid=KEY", "GET /v1/result", "GET /v1/conversation.jsp"},
	{"writer", bearerKey, "POST /v1/chat", "GET /v1/files"},
	{"xai", bearerKey, "POST /v1/chat/completions", "GET /v1/api-key"},
	{"zai", bearerKey, "POST /paas/v4/chat/completions", "POST /paas/v4/files"},
	{"zhipu", bearerKey, "POST /paas/v4/chat/completions", "GET /paas/v4/async-result/r_1"},
}

func TestPreset_OpensInferenceAndNothingElse(t *testing.T) {
	for _, example := range examples {
		t.Run(example.preset, func(t *testing.T) {
			p, ok := Lookup(example.preset)
			if !ok {
				t.Fatalf("no preset %q", example.preset)
			}
			if got := shown(p.Credential); got != example.credential {
				t.Errorf("the key goes to %q, want %q", got, example.credential)
			}
			if !matches(t, p.Name, example.allowed) {
				t.Errorf("%s is refused by %q", example.allowed, p.Routes)
			}
			if matches(t, p.Name, example.refused) {
				t.Errorf("%s is allowed by %q", example.refused, p.Routes)
			}
		})
	}
}

// shown returns where a key goes, as a header or as a query.
func shown(p Placement) string {
	if p.Query != "" {
		return "?" + p.Query + "=" + p.Value("KEY")
	}
	return p.Header + ": " + p.Value("KEY")
}

func TestAllHasEveryPresetSorted(t *testing.T) {
	var got, want []string
	for _, p := range All() {
		got = append(got, p.Name)
	}
	for _, example := range examples {
		want = append(want, example.preset)
	}
	if !slices.IsSorted(want) || !slices.Equal(got, want) {
		t.Errorf("All() = %q, want %q, sorted", got, want)
	}
}

// A variable configures the preset that names it. With two of them, a key would be
// sent to a host that it does not belong to.
func TestEnvBelongsToOnePreset(t *testing.T) {
	owner := map[string]string{}
	for _, p := range presets {
		if p.Env != "" && owner[p.Env] != "" {
			t.Errorf("%s is read by %s and %s", p.Env, owner[p.Env], p.Name)
		}
		owner[p.Env] = p.Name
	}
}
