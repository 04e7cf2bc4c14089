package main

import (
	"encoding/json"
	"os"
)

// writeRaw writes the figures of every round.
func writeRaw(file string, m *machine, outcomes []*outcome) error {
	type scenario struct {
		Name   string               `json:"name"`
		Rounds map[string][]figures `json:"rounds"`
	}
	raw := struct {
		Machine   *machine   `json:"machine"`
		Scenarios []scenario `json:"scenarios"`
	}{Machine: m}
	for _, out := range outcomes {
		raw.Scenarios = append(raw.Scenarios, scenario{out.scenario.name, out.rounds})
	}
	data, err := json.MarshalIndent(raw, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}
