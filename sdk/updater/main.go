package updater

import (
	"fmt"
	"io"
	"log/slog"
	"os"

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
		explain(os.Stdout, os.Stderr, componentType)
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

// explain tells a person who started an updater by hand what to do with it:
// the lines of a configuration on out, so that they can be appended to one,
// and everything else on notes.
func explain(out, notes io.Writer, componentType string) {
	fmt.Fprintf(notes, `This program updates components of type %[1]q for Tranquil. tranquil-agent
starts it. It prints the lines that make the agent do so, for the end of the
agent's configuration:

	%[2]s >> agent.toml

Name the components, as in %[1]s/some-name, at the top of that file:
components = ["%[1]s/some-name"].
`, componentType, os.Args[0])
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	sum, err := Checksum(path)
	if err != nil {
		fmt.Fprintf(notes, "\nThere are no lines now: %v\n", err)
		return
	}
	fmt.Fprintf(out, "\n[[updater]]\ntype = %q\npath = %q\nsha256 = %q\n", componentType, path, sum)
}
