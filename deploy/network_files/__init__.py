"""Files of networks: GeoJSON, CSV, GeoPackage, SWMM, GMNS and OpenStreetMap, in and out."""
