package adminapi

import (
	"runtime/debug"
	"time"
)

// Status is the state of a relay.
type Status struct {
	Version   string         `json:"version"` // of the module; "unknown" in a build without versions
	Started   time.Time      `json:"started"`
	Store     StoreStatus    `json:"store"`
	Keys      []string       `json:"keys"` // ids of the keys that open tokens, the current one first
	Issuers   []string       `json:"issuers"`
	Providers []ProviderInfo `json:"providers"`
	InFlight  int            `json:"in_flight"` // calls

	Limits []Limit        `json:"limits"`        // of the operator, as GET /relayapi/limits lists them
	Budget []IssuerStatus `json:"issuer_limits"` // by issuer
}

// StoreStatus is the state of a relay's store.
type StoreStatus struct {
	Kind       string    `json:"kind"`
	Path       string    `json:"path,omitempty"`
	Ready      bool      `json:"ready"`
	Problem    string    `json:"problem,omitempty"` // why it is not ready
	Since      time.Time `json:"since"`             // tokens issued before are not counted
	LastCommit time.Time `json:"last_commit,omitzero"`
}

// ProviderInfo is a configured provider.
type ProviderInfo struct {
	Name    string `json:"name"`
	Preset  string `json:"preset,omitempty"`
	BaseURL string `json:"base_url"`
	Keys    int    `json:"keys"` // how many keys the relay has for it
}

// Version returns the version of this module.
func Version() string {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == "github.com/relayapi/caddy-relayapi" && m.Version != "" {
				return m.Version
			}
		}
	}
	return "unknown"
}
