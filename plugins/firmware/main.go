// Command tranquil-updater-firmware updates the firmware of devices whose slots
// RAUC writes, and of a HARTING MICA. tranquil-agent starts it.
package main

import (
	"fmt"
	"os"

	"github.com/tranquil-iot/tranquil/plugins/firmware/internal/mica"
	"github.com/tranquil-iot/tranquil/plugins/firmware/internal/rauc"
	base "github.com/tranquil-iot/tranquil/plugins/internal/mica"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// version is set when the updater is built.
var version = "0.0.0-dev"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("tranquil-updater-firmware", version)
		return
	}
	updater.Main(rauc.Type, base.Or(mica.New, rauc.Open))
}
