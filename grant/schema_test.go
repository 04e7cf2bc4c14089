package grant

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"
)

type schema struct {
	Properties           map[string]*schema
	AdditionalProperties *bool
}

// The published schema defines the names that the parser accepts, and no other.
func TestSchemaHasTheSameMembers(t *testing.T) {
	data, err := os.ReadFile("../docs/token.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var root schema
	if err := json.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	compareMembers(t, "", profile, &root)
}

func compareMembers(t *testing.T, path string, want members, got *schema) {
	t.Helper()
	wantNames, gotNames := slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got.Properties))
	if !slices.Equal(wantNames, gotNames) {
		t.Errorf("%q has %v in the schema, %v in the parser", path, gotNames, wantNames)
		return
	}
	if got.AdditionalProperties == nil || *got.AdditionalProperties {
		t.Errorf("%q allows other members in the schema", path)
	}
	for name, m := range want {
		if m.below != nil {
			compareMembers(t, path+"."+name, m.below, got.Properties[name])
		}
	}
}
