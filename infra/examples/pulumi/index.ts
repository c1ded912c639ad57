import { Image, Repository } from "./steward";

// As with awsx: a repository, an image of a folder, and what to run.
const repository = new Repository("web", {
    forceDelete: true,
    lifecyclePolicy: {
        rules: [
            { selection: { tagPrefixList: ["src-"] }, maximumNumberOfImages: 20 },
            { selection: "untagged", maximumAgeLimit: 14 },
        ],
    },
});

const image = new Image("web", {
    repository,
    context: "./app",
    platform: "linux/arm64",
});

export const url = repository.url;
export const imageUri = image.imageUri;
