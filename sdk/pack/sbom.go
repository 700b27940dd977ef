package pack

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// MaxAttachmentSize is how large an SBOM or a provenance may be, in bytes.
const MaxAttachmentSize = 16 << 20

// An SBOM is what is to be said of a bill of materials without reading it whole.
type SBOM struct {
	Type     string `json:"type"`     // media type
	Format   string `json:"format"`   // "CycloneDX 1.6", "SPDX-2.3"
	Packages int    `json:"packages"` // how many it lists
}

// ParseSBOM recognises a bill of materials in JSON: CycloneDX, or SPDX 2.
func ParseSBOM(b []byte) (SBOM, error) {
	var doc struct {
		BOMFormat   string            `json:"bomFormat"`
		SpecVersion string            `json:"specVersion"`
		Components  []json.RawMessage `json:"components"`
		SPDXVersion string            `json:"spdxVersion"`
		Packages    []json.RawMessage `json:"packages"`
	}
	if len(b) > MaxAttachmentSize {
		return SBOM{}, fmt.Errorf("more than %d bytes", MaxAttachmentSize)
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return SBOM{}, fmt.Errorf("cannot read SBOM: %w", err)
	}
	switch {
	case doc.BOMFormat == "CycloneDX" && len(doc.SpecVersion) < maxName:
		return SBOM{MediaTypeCycloneDX, "CycloneDX " + doc.SpecVersion, len(doc.Components)}, nil
	case strings.HasPrefix(doc.SPDXVersion, "SPDX-") && len(doc.SPDXVersion) < maxName:
		return SBOM{MediaTypeSPDX, doc.SPDXVersion, len(doc.Packages)}, nil
	}
	return SBOM{}, errors.New("is neither CycloneDX nor SPDX 2, as JSON")
}
