package updater

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// Open makes the updater from the environment it is to work in. Main calls it
// once no other updater process works in the same environment any more.
type Open func(Environment) (Updater, error)

// Main is the whole main of an updater for the components of one type, like
// "application". It serves until the agent kills the process or dies; then it
// ends too. It does not return.
func Main(componentType string, open Open) {
	if !Launched() {
		explain(os.Stderr, componentType)
		os.Exit(2)
	}
	go exitWithAgent(os.Stdin)
	if err := serve(componentType, open); err != nil {
		slog.New(newLogHandler(os.Stderr)).Error("updater cannot start", "cause", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Launched reports whether this process was started as an updater, by
// [Launch]. A test binary asks it to become the updater that it tests.
func Launched() bool {
	return os.Getenv(handshake.MagicCookieKey) == handshake.MagicCookieValue
}

func serve(componentType string, open Open) error {
	env := environment()
	unlock, err := lockData(env.Data)
	if err != nil {
		return err
	}
	defer unlock()
	slog.SetDefault(env.Logger)
	u, err := open(env)
	if err != nil {
		return err
	}
	s := newServer(componentType, u, env.Logger)
	s.overrun = func(method string) {
		env.Logger.Error("method went on long after its call ended; updater gives up", "method", method)
		os.Exit(1)
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: map[int]plugin.PluginSet{protocolVersion: {pluginName: &wire{server: s}}},
		GRPCServer:       func(o []grpc.ServerOption) *grpc.Server { return grpc.NewServer(o...) },
		Logger:           newHCLog(env.Logger),
	})
	return nil
}

// exitWithAgent ends the process when its standard input ends. The agent holds
// the other end and never writes, so that is when the agent died, in whatever
// way: its updaters must not work on beside those of the next agent.
func exitWithAgent(stdin io.Reader) {
	io.Copy(io.Discard, stdin)
	os.Exit(0)
}

// explain tells a person who started an updater by hand what to do with it.
func explain(w io.Writer, componentType string) {
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	sum, err := Checksum(path)
	if err != nil {
		sum = "checksum of " + filepath.Base(path)
	}
	fmt.Fprintf(w, `This program updates components of type %[1]q for Tranquil.
It is not meant to be run by hand: tranquil-agent starts it. Let it do so by
adding these lines to the agent's configuration:

[[updater]]
type = %[1]q
path = %[2]q
sha256 = %[3]q
`, componentType, path, sum)
}
