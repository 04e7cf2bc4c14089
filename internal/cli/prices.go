package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/relayapi/caddy-relayapi/price"
	"github.com/spf13/cobra"
)

// pricesFlags are the flags of prices.
type pricesFlags struct {
	provider string
	asJSON   bool
}

func pricesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prices [<model>]",
		Short: "Prints the prices that the relay knows",
		Long: `Prints the prices that are built into this version of the relay, in US dollars,
and the date on which they were collected. The prices of tokens are for a million
tokens.

With the name of a model, it prints all prices of that model, such as those for long
contexts, service tiers and caches, and the page of the provider that lists them.
Names of snapshots and of fine-tuned models work as in a request.`,
		Example: "  caddy relayapi prices --provider openai\n" +
			"  caddy relayapi prices gpt-5-mini",
		Args: cobra.MaximumNArgs(1),
	}

	var f pricesFlags
	cmd.Flags().StringVar(&f.provider, "provider", "", "Provider to print. Default: all")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "Print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		table, err := price.Default()
		if err != nil {
			return err
		}
		return f.run(cmd.OutOrStdout(), table, strings.Join(args, ""), time.Now())
	}
	return cmd
}

// run prints the prices of a model, or of all models if model is "".
func (f pricesFlags) run(w io.Writer, table *price.Table, model string, now time.Time) error {
	listings, err := f.listings(table, model, now)
	switch {
	case err != nil:
		return err
	case f.asJSON:
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(map[string]any{
			"source": table.Source, "version": table.Version, "date": table.Date, "models": listings,
		})
	}

	fmt.Fprintf(w, "US dollars, as of %s (%s %s, with the relay's own corrections)\n\n", table.Date, table.Source, table.Version)
	if model != "" {
		return printModelPrices(w, listings)
	}
	return printPrices(w, listings)
}

// listings returns the prices to print. An unknown name is an error.
func (f pricesFlags) listings(table *price.Table, model string, now time.Time) ([]price.Listing, error) {
	providers := table.Providers()
	if f.provider != "" {
		if !slices.Contains(providers, f.provider) {
			return nil, fmt.Errorf("no prices for provider %q; must be one of %s", f.provider, strings.Join(providers, ", "))
		}
		providers = []string{f.provider}
	}

	if model == "" {
		return slices.DeleteFunc(table.List(now), func(l price.Listing) bool { return !slices.Contains(providers, l.Provider) }), nil
	}

	var found []price.Listing
	for _, provider := range providers {
		if l, ok := table.Lookup(provider, model, now); ok {
			found = append(found, l)
		}
	}
	if found == nil {
		// The name is not quoted: somebody may have pasted a token.
		return nil, errors.New(`no price for such a model; the relay refuses its calls under a budget in dollars, unless a line "price" in the config sets one`)
	}
	return found, nil
}

// printPrices prints one line for each model, with the most common prices.
func printPrices(w io.Writer, listings []price.Listing) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PROVIDER\tMODEL\tINPUT\tCACHE READ\tCACHE WRITE\tOUTPUT\tOTHER")
	for _, l := range listings {
		standard := make(map[string]string)
		var other []string
		for _, r := range l.Rates {
			switch {
			case r.Tier != "" || r.Above != 0:
			case slices.Contains([]string{"input", "cache_read", "cache_write", "output"}, r.Kind):
				standard[r.Kind] = r.USD
			default:
				other = append(other, r.Kind)
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Provider, l.Model, orDash(standard["input"]), orDash(standard["cache_read"]),
			orDash(standard["cache_write"]), orDash(standard["output"]), orDash(strings.Join(other, " ")))
	}
	return table.Flush()
}

// printModelPrices prints all prices of some models.
func printModelPrices(w io.Writer, listings []price.Listing) error {
	for i, l := range listings {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s of %s\nnames: %s\npage:  %s\n", l.Model, l.Provider, strings.Join(l.Names, ", "), l.Page)

		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "KIND\tUSD\tFOR\tINPUT\tSERVICE TIER")
		for _, r := range l.Rates {
			above := "any"
			if r.Above != 0 {
				above = fmt.Sprintf("over %d", r.Above)
			}
			tier := "standard"
			if r.Tier != "" {
				tier = r.Tier
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.Kind, r.USD, r.Unit, above, tier)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}
