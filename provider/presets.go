package provider

import (
	"cmp"
	"slices"
)

// bearer is the placement of most providers' keys.
var bearer = Placement{Header: "Authorization", Prefix: "Bearer "}

// presets has the presets of all tables, sorted by name.
//
// Some routes are absent on purpose although they look like inference:
// /v1/realtime/client_secrets mints a credential, /v1/realtime/calls moves the media
// past the relay, and a plain GET at or below /v1/responses reads what the account
// has stored.
//
// Lists of models are included, because many clients ask for them first. They also
// name the account's own fine-tuned models. An operator can configure routes without
// them. A token that is bound to models sees only its models.
//
// Jobs are absent too: a job's result is stored in the account, and whoever reads one
// can read all. Where a provider has both, its synchronous routes are open.
var presets = sorted(first, compatible, models, china, speech, media, search, local)

// sorted joins tables and sorts them by name.
func sorted(tables ...[]Preset) []Preset {
	all := slices.Concat(tables...)
	slices.SortFunc(all, func(a, b Preset) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// posts returns the POST routes of paths below a prefix.
func posts(prefix string, paths ...string) []string {
	routes := make([]string, len(paths))
	for i, path := range paths {
		routes[i] = "POST " + prefix + "/" + path
	}
	return routes
}

// compatibleRoutes returns the POST routes of paths below a prefix and the list of
// models there.
func compatibleRoutes(prefix string, paths ...string) []string {
	return append(posts(prefix, paths...), "GET "+prefix+"/models")
}
