package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/ui"
	"github.com/spf13/cobra"
)

func uiCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "Serves a page with usage, calls, budgets and tokens, for a browser on this machine",
		Long: `Serves a page for the operator until the command is interrupted. The page shows calls,
tokens and cost over time, and how full budgets are. It lists the calls in flight and
ends them. It lists tokens, and mints, changes and revokes them.

The command listens on loopback only and prints a link to standard output. The link
opens the page once, in one browser. Run the command again for another link.

To open the page on another machine, forward the port with SSH:

    ssh -t -L 8000:127.0.0.1:8000 relay.example.com caddy relayapi ui --listen 127.0.0.1:8000`,
		Example: `  caddy relayapi ui
  caddy relayapi ui --address unix//run/caddy/admin.sock --no-open`,
		Args: cobra.NoArgs,
	}
	listen := cmd.Flags().String("listen", "127.0.0.1:0", "Loopback address to listen on. Port 0 picks a free one")
	noOpen := cmd.Flags().Bool("no-open", false, "Print the link, and do not open it in a browser")
	address := addressFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return serveUI(ctx, cmd.OutOrStdout(), *address, *listen, !*noOpen)
	}
	return cmd
}

// serveUI serves the page until the context ends.
func serveUI(ctx context.Context, out io.Writer, address, listen string, open bool) error {
	client := adminapi.Client{Address: address}
	if err := client.Do(http.MethodGet, "/relayapi/limits", nil, new(json.RawMessage)); err != nil {
		return err
	}
	listener, err := ui.Listen(listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}

	page := ui.New(client.Do)
	link := page.Link("http://" + listener.Addr().String())
	fmt.Fprintf(out, "open this link in a browser; it opens once:\n%s\n", link)
	if open {
		done, err := ui.OpenBrowser(link)
		defer done()
		if err != nil {
			fmt.Fprintf(out, "no browser was opened: %v\n", err)
		}
	}
	return serveUntil(ctx, listener, page)
}

// serveUntil serves requests until the context ends.
func serveUntil(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // it would log requests, and so the link
	}
	end := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer end()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the page: %w", err)
	}
	return nil
}
