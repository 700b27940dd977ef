// Package component is what an application links in so that Tranquil can
// update it well. It needs nothing but the standard library, and outside of
// Tranquil it does nothing, so that the same binary runs on a desk.
//
// Tranquil's application updater starts the application with five environment
// variables; the functions here hide them:
//
//   - [StateDir] is where the application keeps what it must not lose.
//     Between two versions Tranquil saves, transforms and hands over this
//     directory. Most applications need no more than that.
//   - [Serve] answers the updater on a unix socket: come to tranquillity, go
//     on, hand over your state, take this state, are you well?
//   - [Publish] hands a reading to the agent, which brings it to the device's
//     twin. It never waits for the agent.
//   - [Depend] follows another component: when it will be away for an update,
//     and when it is back.
//   - A [Gate] lets requests that have begun end, and no others begin.
//
// A whole application:
//
//	func main() {
//		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
//		defer stop()
//		counter := load(component.StateDir("./state"))
//		go component.Serve(ctx, component.Handler{
//			Quiesce: func(context.Context) error { counter.Pause(); return nil },
//			Resume:  func(context.Context) error { counter.Continue(); return nil },
//			Health:  func(context.Context) error { return counter.Err() },
//		})
//		for counter.Next(ctx) {
//			component.Publish(ctx, component.Reading{Object: 3303, Value: counter.Value(), Unit: "Cel"})
//		}
//		component.Flush(context.Background())
//	}
//
// Programs in other languages speak the same two small HTTP protocols over
// unix sockets; README.md in plugins/application has them.
package component

import "os"

// Environment variables that the application updater sets.
const (
	EnvComponent = "TRANQUIL_COMPONENT" // "application/sensor-adapter"
	EnvVersion   = "TRANQUIL_VERSION"   // "2.0.0"
	EnvState     = "TRANQUIL_STATE"     // directory of the state
	EnvControl   = "TRANQUIL_CONTROL"   // unix socket that Serve listens on
	EnvLink      = "TRANQUIL_LINK"      // unix socket of the agent, for Publish
)

// Name returns the component's name, such as "application/sensor-adapter", or
// "" outside of Tranquil.
func Name() string { return os.Getenv(EnvComponent) }

// Version returns the version that was installed, or "" outside of Tranquil.
func Version() string { return os.Getenv(EnvVersion) }

// StateDir returns the directory that holds the component's state, and
// fallback outside of Tranquil. The directory exists when Tranquil starts the
// component, and its content is the component's alone while it runs.
func StateDir(fallback string) string {
	if dir := os.Getenv(EnvState); dir != "" {
		return dir
	}
	return fallback
}
