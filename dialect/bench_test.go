package dialect

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkRead is what it costs to find a model after so many messages.
func BenchmarkRead(b *testing.B) {
	for _, messages := range []int{1, 100, 1000} {
		message := `{"role":"user","content":"` + strings.Repeat(`some words, \"quoted\"\n`, 44) + `"},`
		body := []byte(`{"messages":[` + strings.Repeat(message, messages-1) + message[:len(message)-1] + `],"stream":true,"model":"gpt-x"}`)
		b.Run(fmt.Sprint(len(body)), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			r := &Request{Path: "/v1/chat/completions", ContentType: "application/json", Body: body}
			for b.Loop() {
				if n, err := openai.Read(r); err != nil || n.Model != "gpt-x" {
					b.Fatal(n, err)
				}
			}
		})
	}
}
