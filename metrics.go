package relayapi

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// refusals counts what the relay refused. It is one for the process: Caddy's
// registry is new with every config, and the count should outlive a reload.
var refusals = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy",
	Subsystem: "relayapi",
	Name:      "refusals_total",
	Help:      "Requests that the relay refused, by the code it answered with.",
}, []string{"code"})

func registerMetrics(registry *prometheus.Registry) {
	if registry == nil { // no metrics in this context, as in tests
		return
	}
	var already prometheus.AlreadyRegisteredError
	if err := registry.Register(refusals); err != nil && !errors.As(err, &already) {
		panic(err) // a name taken by another collector is a mistake in this package
	}
}
